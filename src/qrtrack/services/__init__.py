"""The use cases: functions `verb_noun(database, *, ...)` that open and close their own transactions."""

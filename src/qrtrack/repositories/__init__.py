"""The only SQL of the program: one repository per noun, each bound to one session."""

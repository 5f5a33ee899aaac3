"""The SQLAlchemy tables, one file per noun."""

"""The store: one SQL database (SQLite by default) behind a small interface; everything that speaks SQL is in here."""

"""The MantisDB engine: SQL in, one file out. Start reading at engine/session/session.py."""

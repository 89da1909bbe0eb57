"""The competitors of `tables-race`: one program each, which trains on one file of rows."""

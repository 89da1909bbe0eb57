"""`tables-race`: whole products on real tables, from a file of rows to a model that predicts."""

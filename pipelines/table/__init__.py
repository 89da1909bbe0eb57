"""Tables: reading, column types, divisions of the rows, metrics and estimates."""

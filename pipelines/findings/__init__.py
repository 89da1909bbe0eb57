"""What a study found: read back from MLflow, analysed, diagnosed, drawn and put on a page."""

"""The families of scikit-learn, which share their preprocessing and their file format."""

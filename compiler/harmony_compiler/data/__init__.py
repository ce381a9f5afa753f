"""What the data itself says: files, columns, templates, layouts."""

"""Map-style data sets of labelled images, splits by subject, duplicates, and phantoms."""

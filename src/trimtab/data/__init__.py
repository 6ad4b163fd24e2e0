"""What is fed: rows of files become token stores, and these become batches."""

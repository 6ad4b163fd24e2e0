"""What tests share: a tiny world on disk, runs in it, and slow twins that are obviously right."""

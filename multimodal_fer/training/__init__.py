"""What recipes share: configuration, run folders, metrics, sampling, augmentation."""

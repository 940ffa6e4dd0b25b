"""Subject encoders: subjects of reference pictures as tokens that a UNet reads."""

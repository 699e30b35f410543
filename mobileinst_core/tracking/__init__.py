"""Track IDs through a video: association of key frames, live tracking and whole videos."""

"""Sound in, pictures out: the one object that every application calls.

>>> from soundsight import AudioToImage
>>> pipe = AudioToImage.from_pretrained("digits")  # doctest: +SKIP
>>> pipe("seven.wav", num_images=4, seed=0).save("pictures")  # doctest: +SKIP
"""

from soundsight.pipeline.audio_to_image import MAX_NUM_IMAGES, Audio, AudioToImage, Controls, Heard, Pictures

__all__ = ["MAX_NUM_IMAGES", "Audio", "AudioToImage", "Controls", "Heard", "Pictures"]

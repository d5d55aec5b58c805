"""A client of ``soundsight serve`` in Python: the same calls as the pipeline's, with the work done elsewhere.

    client = Client("http://127.0.0.1:8000")
    for picture in client.images("seven.wav", num_images=4, seed=1):
        picture.save(f"seven_{picture.index}.png")

It takes the standard library alone and a connection for each call, and calls from several threads at once are safe.
Nothing is followed to another address, and the token goes to the one address that the client was made with.
"""

from __future__ import annotations

from soundsight.client.client import Client, Controls, Sound
from soundsight.client.picture import Picture
from soundsight.client.transport import ServerError

__all__ = ["Client", "Controls", "Picture", "ServerError", "Sound"]

"""Two real photographs that come with scikit-learn (china.jpg, flower.jpg), and pieces of them as photographs of their own."""

from functools import cache

from PIL import Image

from tests.support.media_files import image_file


@cache
def photographs() -> tuple[Image.Image, Image.Image]:
    """640 x 427 pixels each."""
    from sklearn.datasets import load_sample_images

    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    return china, flower


@cache
def pieces() -> tuple[Image.Image, ...]:
    """Twelve different pictures of 300 x 200 pixels, six of each photograph."""
    boxes = [(x, y, x + 300, y + 200) for y in (0, 110, 220) for x in (0, 330)]
    return tuple(photo.crop(box) for photo in photographs() for box in boxes)


def jpeg_of(image: Image.Image, quality: int = 90) -> bytes:
    return image_file(image, "JPEG", quality=quality)

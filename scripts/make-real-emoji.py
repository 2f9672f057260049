"""
Real emoji that the pictures of the bundled model are compared with: Noto Emoji (Apache-2.0) of the objects that nothing in the
evaluations erases, from the npm package @iconify-json/noto 1.2.9, 64 x 64 on white.
Usage: python scripts/make-real-emoji.py package/icons.json assets/emoji/quality/real (with resvg-py 0.5.0 and pillow 13.0.0)
"""
import io
import json
import os
import sys

import resvg_py
from PIL import Image

NAMES = (
    "house castle automobile fire-engine delivery-truck rocket parachute penguin frog cat panda pig red-apple banana strawberry watermelon "
    "hamburger crown cactus mushroom star sunflower"
).split()
MARGIN, SIZE = 4, 64

source, folder = sys.argv[1:3]
icons = json.load(open(source))
os.makedirs(folder, exist_ok=True)
for i, name in enumerate(NAMES):
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )
    inner = SIZE - 2 * MARGIN
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=inner, height=inner)))).convert("RGBA")
    page = Image.new("RGBA", (SIZE, SIZE), "white")
    page.alpha_composite(drawn, (MARGIN, MARGIN))
    page.convert("RGB").save(f"{folder}/{i}.webp", quality=80, method=6)

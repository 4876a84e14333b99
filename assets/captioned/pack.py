"""Packs the first COUNT images that make.mjs drew, with their captions, into a zip:

    python pack.py OUT COUNT ../captioned.zip

Images become WebP without loss (needs Pillow); the captions are compressed. The same images give the
same bytes.
"""

import io
import sys
import zipfile

from PIL import Image

folder, count, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
names = [f"{i:05}" for i in range(count)]
with zipfile.ZipFile(out, "w") as packed:

    def add(name, data, how):
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        packed.writestr(entry, data, compress_type=how)

    for name in names:
        image = Image.open(f"{folder}/{name}.png").convert("RGB")
        data = io.BytesIO()
        image.save(data, "WEBP", lossless=True, quality=100, method=6)
        add(f"{name}.webp", data.getvalue(), zipfile.ZIP_STORED)
    lines = open(f"{folder}/captions.txt").read().splitlines()
    kept = [line.replace(".png\t", ".webp\t") for line in lines if line[:5] < f"{count:05}"]
    add("captions.txt", "\n".join(kept) + "\n", zipfile.ZIP_DEFLATED)

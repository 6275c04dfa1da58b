"""What a secret looks like where it has got out."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

# Of characters that each way of writing spells in another way.
CANARY = "Canary+/=%40 q&z\"'\\\u00e4-7f3a9c1e5b"


def spellings(secret: str) -> set[bytes]:
    """The secret, and what else it looks like in logs and files."""
    raw = secret.encode()
    # Base64 depends on what stands before: all three alignments, without the uncertain ends.
    aligned = {base64.b64encode(b"x" * n + raw)[4 if n else 0 : -4] for n in range(3)}
    urlsafe = {text.replace(b"+", b"-").replace(b"/", b"_") for text in aligned}
    escaped = secret.encode("unicode_escape"), secret.replace("\\", "\\\\").replace('"', '\\"').encode()
    quoted = quote(secret, safe="").encode(), quote_plus(secret).encode(), quote(secret).encode()
    hexadecimal = raw.hex().encode(), raw.hex().upper().encode()
    return {raw, *aligned, *urlsafe, *escaped, *quoted, *hexadecimal, raw[-16:]}

"""The few things that Twemoji has no plain drawing of, in its manner: a square of 36, flat fills."""

# ruff: noqa: E501 - an outline is one word of SVG: broken into pieces it is harder to read

_CROWN = '<path fill="{0}" d="M18 1c5 0 8 3 8.500 6 4 0 7.500 3 7.500 7.500s-3.500 8-8 8c-2 2.500-5 3-8 3s-6-.5-8-3c-4.500 0-8-3.500-8-8s3.500-7.500 7.500-7.500C10 4 13 1 18 1z"/>'
_TRUNK = '<path fill="#6b4226" d="M16 20h4l.8 13c1 1.500 2 2 3 2.500H12.200c1-.5 2-1 3-2.500zM18 24l-6-5 .8-1 5.200 4 5.200-4 .8 1z"/>'


def _tree(leaf: str, shade: str, light: str) -> str:
    spots = "".join(
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>'
        for x, y, r, fill in (
            (10, 17, 4, shade),
            (22, 19, 4, shade),
            (27, 15, 3.5, shade),
            (16, 14, 3.5, shade),
            (12, 10, 3, light),
            (19, 6, 3, light),
            (25, 10, 2.5, light),
            (8, 14, 2, light),
            (20, 13, 2, light),
        )
    )
    return _TRUNK + _CROWN.format(leaf) + spots


_RAYS = "".join(
    f'<path fill="{fill}" transform="translate({x} {y}) rotate({turn}) scale({size})" d="M-.35 -3 0 -10l.35 7zM-.8 -11.500a.8.8 0 1 0 1.600 0 .8.8 0 1 0-1.600 0z"/>'
    for x, y, size, fill in ((14, 13, 1.0, "#ffd166"), (26, 20, 0.75, "#ff6f91"), (11, 27, 0.6, "#6fd3ff"))
    for turn in range(0, 360, 24)
)

ALL: dict[str, str] = {
    "fireworks": _RAYS,
    "cherry-tree": _tree("#f7b5cc", "#ee94b5", "#fddbe7"),
    "maple-tree": _tree("#e0592a", "#c23b22", "#f6933e"),
    "lighthouse": (
        '<path fill="#8899a6" d="M7 33h22v3H7z"/><path fill="#f5f8fa" d="M13 11h10l3 22H10z"/>'
        '<path fill="#dd2e44" d="M12.400 15.500h11.200l.6 4.500H11.800zM11.200 24.500h13.600l.6 4.500H10.600z"/>'
        '<path fill="#31373d" d="M11 9.500h14v2H11z"/><path fill="#ffe27a" d="M14 5h8v4.500h-8z"/>'
        '<path fill="#dd2e44" d="M12.500 5 18 .5 23.500 5z"/><path fill="#31373d" d="M16.500 28h3v5h-3z"/>'
    ),
    "windmill": (
        '<path fill="#e6d3b3" d="M12.500 14h11l3.500 22H9z"/><path fill="#8f5a34" d="M12 14.500 18 8l6 6.500z"/>'
        '<path fill="#6b4226" d="M16 29h4v7h-4z"/><path fill="#ccd6dd" d="M17 14 4 4l3-3 11.500 12zM19 14 32 4l-3-3-11.500 12z'
        'M17 13 5 24l3 3 10.500-12.500zM19 13l12 11-3 3-10.500-12.500z"/><circle fill="#66757f" cx="18" cy="13.500" r="1.800"/>'
    ),
    "hot-air-balloon": (
        '<path fill="#dd2e44" d="M18 0c8 0 13 5.500 13 12 0 6-6 10-9.500 15.500h-7C11 22 5 18 5 12 5 5.500 10 0 18 0z"/>'
        '<path fill="#ffcc4d" d="M18 0c4 0 6.500 5.500 6.500 12 0 6-3 10-4.500 15.500h-4C14.500 22 11.500 18 11.500 12 11.500 5.500 14 0 18 0z"/>'
        '<path fill="#f4900c" d="M18 0c1.800 0 2.500 5.500 2.500 12 0 6-1 10-1.500 15.500h-2C16.500 22 15.500 18 15.500 12 15.500 5.500 16.200 0 18 0z"/>'
        '<path fill="#66757f" d="M14.500 27.500h.8l.7 4h-.8zM20.700 27.500h.8l-.7 4H20z"/><path fill="#8f5a34" d="M14.500 31h7l-.8 5h-5.400z"/>'
    ),
}

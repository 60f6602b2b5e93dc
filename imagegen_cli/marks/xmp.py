"""XMP packets, by text alone: no parser of XML is asked, so no entity is ever expanded and no depth can hurt."""

import re
from collections.abc import Mapping
from functools import lru_cache
from html import escape, unescape

MAX_PACKET_BYTES = 1024 * 1024
NAMESPACE = "urn:imagegen:marks:1.0/"
"""Of our own property `Facts`, whose text is JSON."""
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "imagegen": NAMESPACE,
}
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
)
UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry in any form."""
UNSAFE = ("<!DOCTYPE", "<!ENTITY", "<![CDATA[", "<!--", "HasExtendedXMP")
"""A packet with one of these is not merged into: text alone cannot tell what stands where."""


def value(packet: str, name: str) -> str:
    """The text of the first property of this local name, as an element or an attribute; empty where there is none."""
    element, attribute = _patterns(name)
    if found := element.search(packet):
        end = packet.find(f"</{found[1]}>", found.end())
        return unescape(re.sub("<[^<>]{0,400}>", "", packet[found.end() : end])).strip() if end >= 0 else ""
    if found := attribute.search(packet):
        end = packet.find(found[1], found.end())
        return unescape(packet[found.end() : end]).strip() if end >= 0 else ""
    return ""


@lru_cache(maxsize=64)
def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Every repetition is bounded, so that the time grows with the length of the packet alone."""
    element = rf"<([\w.-]{{1,40}}:{name})(?:\s[^<>]{{0,400}})?>"
    return re.compile(element), re.compile(rf"\s[\w.-]{{1,40}}:{name}\s{{0,9}}=\s{{0,9}}([\"'])")


def packet(properties: Mapping[str, str]) -> str:
    """A new packet. Properties are named with their prefix, as `dc:description`."""
    return PACKET.format(_description(properties, "rdf", '""'))


def merged(old: str, properties: Mapping[str, str]) -> str | None:
    """The packet with one more description in it, or None where it is not certain where that may stand.

    A property that the packet has already keeps its old value: two values would contradict each other.
    """
    ends = re.findall(r"</([\w.-]{1,40}):RDF\s{0,9}>", old)
    if len(ends) != 1 or any(word in old for word in UNSAFE):
        return None
    prefix, at = ends[0], old.index(f"</{ends[0]}:RDF")
    about = re.search(rf"\s{prefix}:about\s{{0,9}}=\s{{0,9}}(\"[^\"<]{{0,400}}\"|'[^'<]{{0,400}}')", old)
    new = {name: text for name, text in properties.items() if f":{name.partition(':')[2]}" not in old}
    return old[:at] + _description(new, prefix, about[1] if about else '""') + old[at:]


def _description(properties: Mapping[str, str], prefix: str, about: str) -> str:
    declared = "".join(f' xmlns:{name}="{uri}"' for name, uri in NAMESPACES.items())
    inside = "".join(f"<{name}>{_content(name, text, prefix)}</{name}>" for name, text in properties.items() if text)
    return f"<{prefix}:Description {prefix}:about={about}{declared}>{inside}</{prefix}:Description>\n"


def _content(name: str, text: str, prefix: str) -> str:
    """The text in the form of the property: a description has languages, everything else is plain."""
    plain = escape(UNWRITABLE.sub(" ", text), quote=False).replace("\r", "&#13;")
    if name != "dc:description":
        return plain
    return f'<{prefix}:Alt><{prefix}:li xml:lang="x-default">{plain}</{prefix}:li></{prefix}:Alt>'

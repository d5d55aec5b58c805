// A ZIP of files that are stored as they are: PNG does not shrink.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Numbers [size in bytes, value], little-endian. */
function pack(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

const DATE = 33; // 1980-01-01, the first day that a ZIP can have
const UTF8 = 1 << 11;

/** A blob of files {name, bytes}. */
export function zip(files) {
  const pieces = [];
  const directory = [];
  let offset = 0;
  let directorySize = 0;
  for (const { name, bytes } of files) {
    const nameBytes = new TextEncoder().encode(name);
    const common = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DATE], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, nameBytes.length], [2, 0]];
    const head = pack([4, 0x04034b50], ...common);
    pieces.push(head, nameBytes, bytes);
    const entry = pack([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]);
    directory.push(entry, nameBytes);
    offset += head.byteLength + nameBytes.length + bytes.length;
    directorySize += entry.byteLength + nameBytes.length;
  }
  const end = pack([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, directorySize], [4, offset], [2, 0]);
  return new Blob([...pieces, ...directory, end], { type: "application/zip" });
}

// Pictures that are shown to the model: made no larger than it looks at them, here, so that little is sent and kept.

/** A token stands for 32 by 32 pixels. */
const SIDE = 32;

/** The server looks at so many tokens of a picture where nothing else is said. */
const MOST_TOKENS = 2048;

/** Bytes of a file that is taken as it came, if it is not too large otherwise. */
const SMALL_FILE = 2 << 20;

/** Formats that the server reads. */
const KNOWN = ['image/png', 'image/jpeg', 'image/webp', 'image/gif'];

function readUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The picture of a file, decoded by the browser, which turns photos the right way up. */
async function decode(file) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    return image;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** About how many tokens a picture takes. */
export function tokensOf(width, height) {
  return Math.max(1, Math.round(width / SIDE)) * Math.max(1, Math.round(height / SIDE));
}

/** The size at which a picture is sent: the same shape, and no more pixels than are looked at. */
export function fittingSize(width, height) {
  const scale = Math.min(1, Math.sqrt((MOST_TOKENS * SIDE * SIDE) / (width * height)));
  return [width, height].map((side) => Math.max(1, Math.round(side * scale)));
}

/**
 * A file as a data URL with its size.
 *
 * Throws where the file is no picture that this browser reads.
 */
export async function pictureOf(file) {
  const image = await decode(file);
  const [width, height] = fittingSize(image.naturalWidth, image.naturalHeight);
  const isSmall = width === image.naturalWidth && file.size <= SMALL_FILE && KNOWN.includes(file.type);
  if (isSmall) return { url: await readUrl(file), width, height };
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  // The format of photos has no transparency.
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, width, height);
  return { url: canvas.toDataURL('image/jpeg', 0.92), width, height };
}

/** The pictures among what was pasted or dropped. */
export function picturesIn(transfer) {
  return [...(transfer?.files ?? [])].filter((file) => file.type.startsWith('image/'));
}

// Pictures to search with: made small here, sent with the search, kept in this tab only, so that "back" still has them.

const SIDE_PX = 512; // CLIP models look at 224 to 448 pixels
const PREFIX = "tamis-picture:";

/** Take a picture file in and return the name it has in this tab; an Error says why it cannot be used. */
export async function take(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("That file is not a picture this browser can read. PNG, JPEG, WebP, GIF and AVIF work.");
  }
  const scale = Math.min(1, SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const brush = canvas.getContext("2d");
  brush.fillStyle = "white"; // as the server puts transparent pictures on white
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.imageSmoothingQuality = "high";
  brush.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const name = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  store(PREFIX + name, canvas.toDataURL("image/jpeg", 0.92));
  return name;
}

/** Return a picture of this tab as a data: address, or null when it is not here (a link from elsewhere). */
export const dataOf = (name) => sessionStorage.getItem(PREFIX + name);

/** Return the encoded bytes in base64; an Error when the picture is not here. */
export function base64Of(name) {
  const data = dataOf(name);
  if (data === null) throw new Error("The picture of this search is not in this tab any more. Give it again.");
  return data.slice(data.indexOf(",") + 1);
}

function store(key, data) {
  for (;;) {
    try {
      sessionStorage.setItem(key, data);
      return;
    } catch (error) {
      const other = Object.keys(sessionStorage).find((name) => name.startsWith(PREFIX));
      if (!other) throw error;
      sessionStorage.removeItem(other);
    }
  }
}

//! Clips: which frames are read, at what size, and when they stand; from a directory of pictures, an animated GIF or
//! WebP, an MJPEG file, or anything the program `ffmpeg` reads.

use super::alpha::Alpha;
use super::avi::{self, Mjpeg};
use super::error::{Error, Result};
use super::ffmpeg;
use super::image_file::{self, broken};
use super::note::Note;
use super::picture::Picture;
use super::preprocess::{PixelValues, TEMPORAL};
use super::resize::{Area, Size, TOKEN_PIXELS, resize, video_size};
use super::samples::check_size;
use super::source::{self, Source};
use image::{AnimationDecoder, ImageDecoder, ImageFormat, codecs};
use std::fs;
use std::io::Cursor;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

/// Frames a second the model was trained to see.
pub const DEFAULT_FPS: f64 = 2.0;
/// Fewest frames read of a clip that has them.
pub const MIN_FRAMES: usize = 4;
/// Most frames read.
pub const MAX_FRAMES: usize = 768;
/// Rate of a clip that does not say.
const UNKNOWN_FPS: f64 = 24.0;
/// Most tokens of a pair of frames, so that a short clip is not read at full size.
pub const PAIR_TOKENS: usize = 768;
/// Most pixels of one frame.
const FRAME_PIXELS: usize = PAIR_TOKENS * TOKEN_PIXELS;
/// Most pixels decoded of an animation in all its frames, drawn at full size: some ten seconds of work.
const ANIMATION_PIXELS: u64 = 1 << 33;

/// How to read a clip.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Frames a second to read. The frames of a directory are taken to lie this far apart.
    pub fps: f64,
    /// Most frames to read.
    pub max_frames: usize,
    /// Bounds on the pixels of all frames together.
    pub area: Area,
    /// Most tokens a pair of frames may take.
    pub max_tokens: usize,
    /// Bytes of memory the clip's file and one of its frames may take while they are read.
    pub room: u64,
    /// How transparent pixels are read.
    pub alpha: Alpha,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fps: DEFAULT_FPS,
            max_frames: MAX_FRAMES,
            area: Area::VIDEO,
            max_tokens: usize::MAX,
            room: u64::MAX,
            alpha: Alpha::default(),
        }
    }
}

/// A clip, read.
pub struct Clip {
    /// Its frames as rows for the tower.
    pub pixels: PixelValues,
    /// Seconds at which each pair of frames stands: the mean of the two.
    pub seconds: Vec<f64>,
    /// What was read of what there is.
    pub summary: Summary,
    /// What is worth knowing of its frames, each thing once.
    pub notes: Vec<Note>,
}

/// What was read of a clip, for the user to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Frames in the clip.
    pub frames: usize,
    /// Frames read.
    pub read: usize,
    /// Its size.
    pub from: Size,
    /// The size it was read at.
    pub to: Size,
}

/// Where frames come from.
enum Frames {
    Directory(Vec<PathBuf>),
    Animation { bytes: Vec<u8>, format: ImageFormat },
    Mjpeg { bytes: Vec<u8>, clip: Mjpeg },
    Ffmpeg(PathBuf),
}

/// A clip that has been opened and measured, but not decoded.
pub struct Video {
    source: Frames,
    frames: usize,
    /// Frames a second of the source.
    fps: f64,
}

/// Which of `total` frames at `source_fps` to read for `fps` frames a second: evenly spread, first and last included.
pub fn choose_frames(total: usize, source_fps: f64, fps: f64, max_frames: usize) -> Vec<usize> {
    let wanted = (total as f64 / source_fps * fps) as usize;
    let n = wanted.clamp(MIN_FRAMES, MAX_FRAMES).min(max_frames.max(1)).min(total);
    if n <= 1 {
        return (0..n).collect();
    }
    let step = (total - 1) as f64 / (n - 1) as f64;
    (0..n).map(|i| ((i as f64 * step).round_ties_even() as usize).min(total - 1)).collect()
}

/// Seconds of each pair of frames: the mean of their times, an odd last frame counting twice.
fn pair_seconds(indices: &[usize], fps: f64) -> Vec<f64> {
    let time = |i: usize| i as f64 / fps;
    indices.chunks(TEMPORAL).map(|pair| (time(pair[0]) + time(pair[pair.len() - 1])) / 2.0).collect()
}

impl Video {
    /// Opens a clip: a directory, a file or a data URL.
    ///
    /// # Errors
    /// What is wrong with it, or that `ffmpeg` would be needed and is not there.
    pub fn open(source: &Source, options: &Options) -> Result<Video> {
        let path = match source {
            Source::File(path) => path.as_path(),
            _ => Path::new(""),
        };
        if path.is_dir() {
            return Self::directory(path, options.fps);
        }
        let start = if path.is_file() { head(path)? } else { Vec::new() };
        if path.is_file() && !is_native(&start) {
            if matches!(image_file::format(&start), Ok(ImageFormat::Png | ImageFormat::Bmp)) {
                return Err(Error::Still);
            }
            let (frames, fps) = ffmpeg::measure(path)?;
            return Ok(Video { source: Frames::Ffmpeg(path.to_owned()), frames, fps });
        }
        let bytes = source.read(options.room)?;
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        if !is_native(&bytes) {
            return Err(Error::NotAClip { what: image_file::unknown(&bytes) });
        }
        if avi::is_avi(&bytes) {
            return match avi::parse(&bytes) {
                // The file may hold any codec: ffmpeg knows most of them.
                Err(Error::AviCodec { .. }) if path.is_file() && ffmpeg::is_installed() => {
                    let (frames, fps) = ffmpeg::measure(path)?;
                    Ok(Video { source: Frames::Ffmpeg(path.to_owned()), frames, fps })
                }
                clip => Self::mjpeg(bytes, clip?),
            };
        }
        match image_file::format(&bytes)? {
            ImageFormat::Jpeg => {
                let clip = avi::split_stream(&bytes);
                Self::mjpeg(bytes, clip)
            }
            format => Self::animation(bytes, format, options.room),
        }
    }

    fn directory(path: &Path, fps: f64) -> Result<Video> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            let known = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
            if extension.is_some_and(|e| known.contains(&e.as_str())) && file.is_file() {
                files.push(file);
            }
        }
        if files.is_empty() {
            return Err(Error::NoFrames { what: "the directory holds no picture files" });
        }
        files.sort_by_key(|file| natural_key(file));
        Ok(Video { frames: files.len(), source: Frames::Directory(files), fps })
    }

    fn mjpeg(bytes: Vec<u8>, clip: Mjpeg) -> Result<Video> {
        if clip.frames.is_empty() {
            return Err(Error::NoFrames { what: "the clip is empty" });
        }
        Ok(Video {
            frames: clip.frames.len(),
            fps: clip.fps.unwrap_or(UNKNOWN_FPS),
            source: Frames::Mjpeg { bytes, clip },
        })
    }

    fn animation(bytes: Vec<u8>, format: ImageFormat, room: u64) -> Result<Video> {
        let (mut frames, mut millis) = (0usize, 0.0);
        for_each_frame(&bytes, format, room, |_, delay| {
            frames += 1;
            millis += delay;
            Ok(true)
        })?;
        if frames == 0 {
            return Err(Error::NoFrames { what: "the animation is empty" });
        }
        let fps = frames as f64 * 1000.0 / millis;
        Ok(Video { source: Frames::Animation { bytes, format }, frames, fps })
    }

    /// Decodes the chosen frames, resizes each as it comes, and cuts them into patches.
    ///
    /// # Errors
    /// Names the frame that cannot be read, or the shape that is too thin.
    pub fn read(&self, options: &Options) -> Result<Clip> {
        let mut indices = choose_frames(self.frames, self.fps, options.fps, options.max_frames);
        let mut pictures: Vec<Picture> = Vec::with_capacity(indices.len());
        let mut sizes = None;
        let mut notes = Vec::new();
        self.decode(&indices, options, |picture, remarks| {
            for note in remarks {
                let is_same = |other: &Note| discriminant(other) == discriminant(&note);
                if !notes.iter().any(is_same) {
                    notes.push(note);
                }
            }
            let size = Size { height: picture.height, width: picture.width };
            let (_, to) = *match &mut sizes {
                Some(sizes) => sizes,
                none => none.insert((size, frame_size(size, indices.len(), options)?)),
            };
            pictures.push(resize(picture, to));
            Ok(())
        })?;
        let Some((from, to)) = sizes else {
            return Err(Error::NoFrames { what: "the clip delivered none" });
        };
        // A program may deliver a frame less than its file promised.
        indices.truncate(pictures.len());
        Ok(Clip {
            pixels: PixelValues::video(&pictures),
            seconds: pair_seconds(&indices, self.fps),
            summary: Summary { frames: self.frames, read: pictures.len(), from, to },
            notes,
        })
    }

    /// Calls `sink` with each of the frames `indices`, which ascend, and what is worth knowing of it.
    fn decode(
        &self,
        indices: &[usize],
        options: &Options,
        mut sink: impl FnMut(Picture, Vec<Note>) -> Result<()>,
    ) -> Result<()> {
        let Options { room, alpha, .. } = *options;
        let at = |index: usize| move |reason| Error::Frame { index, total: self.frames, reason: Box::new(reason) };
        match &self.source {
            Frames::Directory(files) => {
                for &i in indices {
                    let named = |reason: Error| Error::FrameFile { path: files[i].clone(), reason: Box::new(reason) };
                    let bytes = source::read_file(&files[i], room.min(source::MAX_BYTES));
                    let picture = bytes.and_then(|bytes| Picture::decode_within(&bytes, alpha, room));
                    let (picture, notes) = picture.map_err(named)?;
                    sink(picture, notes)?;
                }
            }
            Frames::Mjpeg { bytes, clip } => {
                for &i in indices {
                    let frame = &bytes[clip.frames[i].clone()];
                    let headless = || Error::Truncated { format: "JPEG", what: "its header is not whole".into() };
                    let picture = super::jpeg::with_tables(frame).ok_or_else(headless).and_then(|whole| {
                        Picture::decode_within(&whole, alpha, room.saturating_sub(bytes.len() as u64))
                    });
                    let (picture, notes) = picture.map_err(at(i))?;
                    sink(picture, notes)?;
                }
            }
            Frames::Animation { bytes, format } => {
                let (mut i, mut wanted) = (0, indices.iter().copied().peekable());
                for_each_frame(bytes, *format, room, |frame, _| {
                    let mut frame = Some(frame);
                    if wanted.next_if_eq(&i).is_some() {
                        let (picture, transparent) = Picture::from_rgba(frame.take().expect("set above"), alpha);
                        let notes = if transparent { vec![Note::Transparent(alpha)] } else { Vec::new() };
                        sink(picture, notes)?;
                    }
                    i += 1;
                    Ok(wanted.peek().is_some())
                })?;
            }
            Frames::Ffmpeg(path) => ffmpeg::read_frames(path, indices, room, |picture| sink(picture, Vec::new()))?,
        }
        Ok(())
    }
}

/// The size the frames of a clip are read at, with the cap of each frame.
fn frame_size(size: Size, n: usize, options: &Options) -> Result<Size> {
    let area = options.area;
    let least = (1.05 * area.min as f64) as usize;
    let frame = FRAME_PIXELS.min(area.max / n).max(least).min(options.max_tokens.saturating_mul(TOKEN_PIXELS));
    let max = (frame * n).min(area.max).max(TOKEN_PIXELS);
    video_size(size, n, Area { min: area.min.min(max), max })
}

/// The first bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether this program reads such a clip itself.
fn is_native(head: &[u8]) -> bool {
    avi::is_avi(head)
        || matches!(image_file::format(head), Ok(ImageFormat::Jpeg | ImageFormat::Gif | ImageFormat::WebP))
}

/// Sorts `frame9` before `frame10`: digits compare as numbers, whatever their padding.
fn natural_key(path: &Path) -> Vec<(String, u128)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = vec![(String::new(), 0u128)];
    let mut in_digits = false;
    for c in name.chars() {
        let last = parts.last_mut().expect("never empty");
        match c.to_digit(10) {
            Some(digit) => {
                last.1 = last.1.saturating_mul(10).saturating_add(u128::from(digit));
                in_digits = true;
            }
            None if in_digits => {
                parts.push((c.to_string(), 0));
                in_digits = false;
            }
            None => last.0.push(c),
        }
    }
    parts.push((name.into_owned(), 0));
    parts
}

/// Decodes an animation frame by frame, each drawn on the whole canvas, until `each` says false. `each` gets the frame
/// and how long it stands, in milliseconds.
fn for_each_frame(
    bytes: &[u8],
    format: ImageFormat,
    room: u64,
    mut each: impl FnMut(image::RgbaImage, f64) -> Result<bool>,
) -> Result<()> {
    let wrap = |error| broken(format, error);
    let cursor = Cursor::new(bytes);
    let (width, height, frames) = if format == ImageFormat::Gif {
        let mut decoder = codecs::gif::GifDecoder::new(cursor).map_err(wrap)?;
        let (width, height) = decoder.dimensions();
        decoder.set_limits(check_size(width, height, bytes.len(), room)?).map_err(wrap)?;
        (width, height, decoder.into_frames())
    } else {
        let mut decoder = codecs::webp::WebPDecoder::new(cursor).map_err(wrap)?;
        let (width, height) = decoder.dimensions();
        decoder.set_limits(check_size(width, height, bytes.len(), room)?).map_err(wrap)?;
        if !decoder.has_animation() {
            let picture = image::DynamicImage::from_decoder(decoder).map_err(wrap)?;
            each(picture.into_rgba8(), 100.0)?;
            return Ok(());
        }
        (width, height, decoder.into_frames())
    };
    let mut pixels = 0;
    for frame in frames {
        let frame = frame.map_err(wrap)?;
        pixels += u64::from(width) * u64::from(height);
        if pixels > ANIMATION_PIXELS {
            return Err(Error::ClipTooLong { limit: ANIMATION_PIXELS });
        }
        let (numer, denom) = frame.delay().numer_denom_ms();
        let delay = f64::from(numer) / f64::from(denom.max(1));
        // Viewers show frames without a delay for a tenth of a second.
        if !each(frame.into_buffer(), if delay > 0.0 { delay } else { 100.0 })? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Delay, Frame, Rgba, RgbaImage};

    #[test]
    fn frames_are_spread_as_the_processor_does() {
        let indices = choose_frames(300, 30.0, 2.0, MAX_FRAMES);
        assert_eq!((indices.len(), &indices[..4], indices[19]), (20, &[0, 16, 31, 47][..], 299));
        assert_eq!(format!("{:.1}", pair_seconds(&indices, 30.0)[0]), "0.3");
        assert_eq!(choose_frames(9, 2.0, 2.0, MAX_FRAMES), (0..9).collect::<Vec<_>>());
        assert_eq!(choose_frames(3, 24.0, 2.0, MAX_FRAMES), [0, 1, 2]);
        assert_eq!(choose_frames(24, 24.0, 2.0, MAX_FRAMES), [0, 8, 15, 23]);
        assert_eq!(choose_frames(100_000, 24.0, 2.0, MAX_FRAMES).len(), 768);
        assert_eq!(choose_frames(300, 30.0, 2.0, 6).len(), 6);
        assert_eq!(choose_frames(300, 30.0, 2.0, 1), [0]);
        assert_eq!(pair_seconds(&(0..9).collect::<Vec<_>>(), 2.0), [0.25, 1.25, 2.25, 3.25, 4.0]);
    }

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["f10.png", "f9.png", "f009b.png", "a1.png"].map(PathBuf::from);
        names.sort_by_key(|n| natural_key(n));
        assert_eq!(names, ["a1.png", "f9.png", "f009b.png", "f10.png"].map(PathBuf::from));
    }

    fn gif(frames: u8, delay_ms: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = codecs::gif::GifEncoder::new(&mut bytes);
        for i in 0..frames {
            let image = RgbaImage::from_pixel(64, 32, Rgba([i * 20, 0, 0, 255]));
            encoder.encode_frame(Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(delay_ms, 1))).unwrap();
        }
        drop(encoder);
        bytes
    }

    fn data_url(bytes: &[u8]) -> Source {
        use base64::Engine;
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        Source::DataUrl(format!("data:image/gif;base64,{data}"))
    }

    #[test]
    fn an_animated_gif_is_read_at_two_frames_a_second() {
        let options = Options::default();
        let video = Video::open(&data_url(&gif(12, 250)), &options).unwrap();
        let clip = video.read(&options).unwrap();
        assert_eq!((clip.summary.frames, clip.summary.read), (12, 6));
        assert_eq!((clip.pixels.grid.t, clip.seconds.len()), (3, 3));
        let reds: Vec<f32> = clip.pixels.values.chunks_exact(2 * 768).step_by(8).map(|row| row[0]).collect();
        assert!(reds.is_sorted() && reds[0] == -1.0 && reds[2] > 0.0, "{reds:?}");
    }

    #[test]
    fn transparent_frames_are_laid_over_white_with_a_note() {
        let mut bytes = Vec::new();
        let mut encoder = codecs::gif::GifEncoder::new(&mut bytes);
        // What a frame leaves open shows the one before: the first has the whole left half open, the second nothing.
        for open in [32, 0] {
            let image = RgbaImage::from_fn(64, 64, |x, _| Rgba([0, 0, 0, if x < open { 0 } else { 255 }]));
            encoder.encode_frame(Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(500, 1))).unwrap();
        }
        drop(encoder);
        for (alpha, white) in [(Alpha::White, 32 * 64 * 3), (Alpha::Drop, 0)] {
            let options = Options { alpha, ..Options::default() };
            let clip = Video::open(&data_url(&bytes), &options).unwrap().read(&options).unwrap();
            assert_eq!(clip.pixels.values.iter().filter(|&&value| value > 0.5).count(), white);
            assert_eq!(clip.notes, [Note::Transparent(alpha)]);
        }
    }

    #[test]
    fn an_mjpeg_avi_without_tables_is_read() {
        let mut jpeg = Cursor::new(Vec::new());
        let image = image::RgbImage::from_fn(48, 32, |x, y| image::Rgb([x as u8 * 5, y as u8 * 7, 90]));
        image.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        // Take the Huffman tables out: the encoder writes the standard ones.
        let mut bare = Vec::new();
        let mut at = 2;
        bare.extend_from_slice(&jpeg[..2]);
        while jpeg[at + 1] != 0xDA {
            let len = 2 + usize::from(jpeg[at + 2]) * 256 + usize::from(jpeg[at + 3]);
            if jpeg[at + 1] != 0xC4 {
                bare.extend_from_slice(&jpeg[at..at + len]);
            }
            at += len;
        }
        bare.extend_from_slice(&jpeg[at..]);
        assert!(bare.len() < jpeg.len());
        let avi = avi::tests::write(b"MJPG", &vec![bare; 30]);
        let options = Options::default();
        let video = Video::open(&data_url(&avi), &options).unwrap();
        let clip = video.read(&options).unwrap();
        assert_eq!((clip.summary.frames, clip.summary.read, clip.pixels.grid.t), (30, 4, 2));
        let still = Picture::decode(&jpeg).unwrap();
        let still = PixelValues::image(&resize(still, clip.summary.to));
        assert_eq!(clip.pixels.values[..768], still.values[..768]);
    }

    #[test]
    fn a_stream_of_pictures_ends_at_its_cut_frame() {
        let mut jpeg = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(32, 32, image::Rgb([9; 3])).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let stream = [jpeg.clone(), b"--boundary".to_vec(), jpeg.clone(), jpeg[..jpeg.len() - 2].to_vec()].concat();
        assert_eq!(avi::split_stream(&stream).frames.len(), 2);
    }

    #[test]
    fn frame_sizes_stay_within_their_caps() {
        let size = Size { height: 2160, width: 3840 };
        for n in [1, 4, 9, 100, 768] {
            let to = frame_size(size, n, &Options::default()).unwrap();
            assert!(to.tokens() <= 768 && to.height * to.width * n <= Area::VIDEO.max, "{n}: {to:?}");
            let to = frame_size(size, n, &Options { max_tokens: 50, ..Options::default() }).unwrap();
            assert!(to.tokens() <= 50);
        }
    }

    #[test]
    fn what_is_no_clip_is_said_to_be_none() {
        let options = Options::default();
        let error = Video::open(&data_url(b"hush!"), &options).err().unwrap().to_string();
        assert!(error.contains("it is text") && !error.contains("hush"), "{error}");
        let dir = std::env::temp_dir().join(format!("qwen-edge-no-frames-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let error = Video::open(&Source::File(dir.clone()), &options).err().unwrap();
        fs::remove_dir(&dir).unwrap();
        assert!(matches!(error, Error::NoFrames { .. }), "{error}");
    }
}

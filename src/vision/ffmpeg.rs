//! Clips of any codec through the program `ffmpeg`, where it is installed: measured first, then only the chosen frames
//! are asked for, as PPM pictures over a pipe.

use super::error::{Error, Result};
use super::image_file::unknown;
use super::picture::Picture;
use super::samples::MAX_PIXELS;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = "ffmpeg";

/// Whether the program can be started.
pub fn is_installed() -> bool {
    let quiet =
        Command::new(PROGRAM).arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// A command that cannot mistake the file's name for an option or a protocol.
fn command(path: &Path) -> Command {
    let mut input = std::ffi::OsString::from("file:");
    input.push(path);
    let mut command = Command::new(PROGRAM);
    command.args(["-hide_banner", "-nostdin", "-i"]).arg(input).stdin(Stdio::null());
    command
}

fn start_error(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::NoFfmpeg { what: start(path) },
        _ => Error::Ffmpeg { reason: error.to_string() },
    }
}

/// What the first bytes of a file are, for a message.
fn start(path: &Path) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    unknown(&bytes)
}

/// Number of frames and frames a second of a clip, from what the program says of it.
///
/// # Errors
/// That the program is not installed, or what it said.
pub fn measure(path: &Path) -> Result<(usize, f64)> {
    // Without an output file it describes its input and fails.
    let output = command(path).output().map_err(|error| start_error(path, error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    parse_description(&said).ok_or_else(|| {
        let reason = said.lines().rev().find(|l| !l.trim().is_empty() && !l.contains("At least one output file"));
        Error::Ffmpeg { reason: reason.unwrap_or("no video found").trim().to_owned() }
    })
}

/// Frames and rate from lines like `Duration: 00:00:10.50, start: ..` and `Stream ..: Video: .., 29.97 fps, ..`.
fn parse_description(said: &str) -> Option<(usize, f64)> {
    let video = said.lines().find(|line| line.contains("Video:"))?;
    let fps: f64 = video.split(',').find_map(|part| part.trim().strip_suffix(" fps")?.parse().ok())?;
    let duration = said.lines().find_map(|line| line.trim().strip_prefix("Duration: ")?.split(',').next())?;
    let seconds = duration.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
    let frames = (seconds * fps).round();
    (fps > 0.0 && (1.0..1e9).contains(&frames)).then_some((frames as usize, fps))
}

/// Calls `sink` with the frames `indices`, which ascend; fewer when the clip is shorter than it says.
///
/// # Errors
/// What the program said, or the sink.
pub fn read_frames(
    path: &Path,
    indices: &[usize],
    room: u64,
    mut sink: impl FnMut(Picture) -> Result<()>,
) -> Result<()> {
    let wanted: Vec<String> = indices.iter().map(|i| format!("eq(n\\,{i})")).collect();
    let select = format!("select={}", wanted.join("+"));
    let mut child = command(path)
        .args(["-v", "error", "-map", "0:v:0", "-vf", &select, "-fps_mode", "passthrough"])
        .args(["-frames:v", &indices.len().to_string(), "-f", "image2pipe", "-c:v", "ppm", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| start_error(path, error))?;
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = child.stderr.take().expect("piped");
    // Its messages are read on the side, or a full pipe would stop it.
    let messages = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.by_ref().take(1 << 16).read_to_end(&mut said);
        let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let mut frames = 0;
    let result = loop {
        match read_ppm(&mut stdout, room) {
            Ok(Some(picture)) => {
                frames += 1;
                if let Err(error) = sink(picture) {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            Err(reason) => break Err(Error::Ffmpeg { reason }),
        }
    };
    drop(stdout);
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait();
    let said = messages.join().unwrap_or_default();
    result?;
    if frames == 0 || status.is_err() {
        let reason = said.lines().next().unwrap_or("it delivered no frames").to_owned();
        return Err(Error::Ffmpeg { reason });
    }
    Ok(())
}

/// The next picture of a pipe of binary PPM pictures, of at most `room` bytes; `None` at its end.
fn read_ppm(pipe: &mut impl BufRead, room: u64) -> std::result::Result<Option<Picture>, String> {
    let mut fields = Vec::new();
    while fields.len() < 4 {
        let mut line = Vec::new();
        pipe.by_ref().take(64).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return if fields.is_empty() { Ok(None) } else { Err("a picture ended in its header".into()) };
        }
        fields.extend(String::from_utf8_lossy(&line).split_whitespace().map(str::to_owned));
    }
    let number = |i: usize| fields[i].parse::<usize>().ok().filter(|&n| n > 0);
    match (fields[0].as_str(), number(1), number(2), fields[3].as_str()) {
        ("P6", Some(width), Some(height), "255")
            if (width.saturating_mul(height) as u64) <= MAX_PIXELS.min(room / 3) =>
        {
            let mut rgb = vec![0; width * height * 3];
            pipe.read_exact(&mut rgb).map_err(|_| "a picture was cut".to_owned())?;
            Ok(Some(Picture { width, height, rgb }))
        }
        _ => Err(format!("expected a PPM picture, found {}", fields.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_gives_frames_and_rate() {
        let said = "Input #0, mov, from 'a.mp4':\n  Duration: 00:01:10.50, start: 0.0, bitrate: 1 kb/s\n  \
            Stream #0:0(und): Audio: aac\n  Stream #0:1: Video: h264 (High), yuv420p, 640x480, 1 kb/s, 20 fps, 20 tbr\n";
        assert_eq!(parse_description(said), Some((1410, 20.0)));
        assert_eq!(parse_description("Stream #0:0: Audio: mp3\n Duration: 00:00:10.00,"), None);
        assert_eq!(parse_description("a.bin: Invalid data found when processing input"), None);
    }

    #[test]
    fn a_pipe_of_pictures_is_split() {
        let mut pipe: &[u8] = b"P6\n2 1\n255\nabcdefP6\n1 1\n255\nxyz";
        let first = read_ppm(&mut pipe, u64::MAX).unwrap().unwrap();
        assert_eq!((first.width, first.height, first.rgb.as_slice()), (2, 1, &b"abcdef"[..]));
        assert_eq!(read_ppm(&mut pipe, u64::MAX).unwrap().unwrap().rgb, b"xyz");
        assert!(read_ppm(&mut pipe, u64::MAX).unwrap().is_none());
        for bad in [&b"P6\n2 1\n255\nabc"[..], b"P5\n1 1\n255\na", b"P6\n99999 99999\n255\n", b"P6\n"] {
            assert!(read_ppm(&mut &bad[..], u64::MAX).is_err());
        }
    }
}

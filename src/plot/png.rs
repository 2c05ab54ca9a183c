//! PNG files in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Pixels by rows from the top, three bytes each, or four with opacity, as a PNG file.
pub(super) fn encode(bytes: &[u8], [width, height]: [usize; 2], has_alpha: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut file, side(width), side(height));
    encoder.set_color(if has_alpha {
        png::ColorType::Rgba
    } else {
        png::ColorType::Rgb
    });
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(bytes));
    written.expect("a file in memory should take as many bytes as its header says");
    file
}

/// The same as an address that holds the image.
pub(super) fn data_uri(bytes: &[u8], size: [usize; 2], has_alpha: bool) -> String {
    let file = encode(bytes, size, has_alpha);
    format!("data:image/png;base64,{}", STANDARD.encode(file))
}

/// The image that such an address holds, with opacity: bytes, width and height.
pub(super) fn decode_uri(uri: &str) -> Option<(Vec<u8>, [usize; 2])> {
    let file = STANDARD
        .decode(uri.strip_prefix("data:image/png;base64,")?)
        .ok()?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::ALPHA | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().ok()?;
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut bytes).ok()?;
    if frame.color_type != png::ColorType::Rgba {
        return None;
    }
    bytes.truncate(frame.buffer_size());
    let side = |n: u32| usize::try_from(n).ok();
    Some((bytes, [side(frame.width)?, side(frame.height)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_read_back() {
        let bytes: Vec<u8> = (0..24).collect();
        let (back, size) = decode_uri(&data_uri(&bytes, [3, 2], true)).unwrap();
        assert_eq!((back, size), (bytes.clone(), [3, 2]));
        let (opaque, _) = decode_uri(&data_uri(&bytes, [4, 2], false)).unwrap();
        assert_eq!(opaque[..8], [0, 1, 2, 255, 3, 4, 5, 255]);
        assert!(decode_uri("data:image/png;base64,AAAA").is_none());
    }
}

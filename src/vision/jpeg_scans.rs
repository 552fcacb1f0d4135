//! Whether all pixels of a JPEG picture are in its file: a walk over the Huffman codes of its scans that keeps no pixel.
//!
//! Decoders fill what is missing with grey and say nothing, so a picture without its end marker can be told whole or cut
//! only by counting blocks: those of sequential scans, and for progressive ones also which bits of which coefficients
//! have come. Lossless, hierarchical and arithmetic-coded pictures are not followed.

/// Scans of one picture that are followed: encoders write ten, decoders allow about a hundred.
const MAX_SCANS: usize = 100;

/// Coefficients of a block.
const COEFFICIENTS: usize = 64;

/// What is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The lower part.
    Rows {
        /// Rows of pixels from the top that are there.
        rows: usize,
        /// Rows of the picture.
        of: usize,
    },
    /// Scans that would make a progressive picture as sharp as it should be, or a part of one.
    Scans,
}

/// What the scans of a picture hold.
#[derive(Debug)]
pub struct Coverage {
    /// What they lack.
    pub missing: Option<Missing>,
    /// Whether a scan breaks off, by its end or by a code that is none.
    pub broken: bool,
    /// End of the last scan's codes, in bytes from the picture's start.
    pub end: usize,
}

/// Follows the picture at the start of `bytes`; `None` for one of a kind that is not followed, and for one whose header
/// is not whole.
pub fn coverage(bytes: &[u8]) -> Option<Coverage> {
    let mut tables = [const { None }; 8];
    let mut frame: Option<Frame> = None;
    let mut interval = 0;
    let mut end = None;
    let mut broken = None;
    let mut n_scans = 0;
    let mut at = 2;
    while let Some((marker, body)) = next_segment(bytes, at) {
        at = body.end;
        let body = &bytes[body];
        match marker {
            0xC0..=0xC2 if frame.is_none() => frame = Some(Frame::parse(body, marker == 0xC2)?),
            0xC4 => read_tables(body, &mut tables)?,
            0xC0..=0xCF => return None,
            0xDD => interval = usize::from(u16::from_be_bytes(*body.first_chunk()?)),
            0xDA => {
                n_scans += 1;
                if n_scans > MAX_SCANS {
                    return None;
                }
                let frame = frame.as_mut()?;
                let scan = Scan::parse(body, frame)?;
                let mut bits = Bits { bytes, at, word: 0, n: 0 };
                let result = frame.follow(&scan, &tables, interval, &mut bits);
                at = bits.position();
                end = Some(at);
                if let Err(rows) = result {
                    broken = Some(rows);
                    break;
                }
            }
            0xD9 => break,
            _ => {}
        }
    }
    let frame = frame?;
    let missing = match broken {
        _ if frame.is_whole() => None,
        Some(rows) if !frame.progressive => Some(Missing::Rows { rows, of: frame.height }),
        // Components have scans of their own, and some have none.
        None if !frame.progressive => Some(Missing::Rows { rows: 0, of: frame.height }),
        _ => Some(Missing::Scans),
    };
    Some(Coverage { missing, broken: broken.is_some(), end: end? })
}

/// The next marker from `at` on, and where the contents of its segment lie; markers without a segment are passed over but
/// for the end marker. `None` at the end of the bytes.
fn next_segment(bytes: &[u8], mut at: usize) -> Option<(u8, std::ops::Range<usize>)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xFF)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            // Stuffed zeros of what is no segment, TEM, RSTn and SOI.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            0xD9 => return Some((marker, at..at)),
            _ => {
                let len = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
                let body = at + 2..at + len;
                return (len >= 2 && body.end <= bytes.len()).then_some((marker, body));
            }
        }
    }
}

/// A Huffman table.
struct Table {
    /// For every value of the next [`Table::FAST`] bits: length and symbol of the code they begin with; length 0 for a
    /// longer one.
    fast: [(u8, u8); 1 << Table::FAST],
    /// For each length: the first code behind those of that length, left-aligned in 16 bits.
    limit: [u32; 17],
    /// For each length: what makes a code of that length the index of its symbol.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    const FAST: u32 = 9;

    /// The table with `counts` codes of each length 1..=16 for the symbols in order; `None` when there are too many.
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Table> {
        let mut table =
            Table { fast: [(0, 0); 1 << Table::FAST], limit: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for len in 1..=16u32 {
            table.offset[len as usize] = index as i32 - code as i32;
            for _ in 0..counts[len as usize - 1] {
                if code >> len != 0 {
                    return None;
                }
                if len <= Table::FAST {
                    let first = (code << (Table::FAST - len)) as usize;
                    table.fast[first..][..1 << (Table::FAST - len)].fill((len as u8, symbols[index]));
                }
                code += 1;
                index += 1;
            }
            table.limit[len as usize] = code << (16 - len);
            code <<= 1;
        }
        Some(table)
    }
}

type Tables = [Option<Table>; 8];

/// Reads the tables of a DHT segment: those for DC coefficients come first in the list, four of them.
fn read_tables(mut body: &[u8], tables: &mut Tables) -> Option<()> {
    while let Some((&id, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let n = counts.iter().map(|&n| usize::from(n)).sum();
        let (symbols, rest) = rest.split_at_checked(n)?;
        let (class, number) = (usize::from(id >> 4), usize::from(id & 15));
        if class > 1 || number > 3 {
            return None;
        }
        tables[class * 4 + number] = Some(Table::new(counts, symbols)?);
        body = rest;
    }
    Some(())
}

/// One colour channel.
struct Component {
    id: u8,
    /// Blocks in a unit of an interleaved scan, across and down.
    across: usize,
    down: usize,
    /// Blocks in a row and rows of blocks that carry pixels.
    width: usize,
    height: usize,
    /// Blocks in a row with those that fill up the last unit.
    stride: usize,
    /// For each coefficient, the lowest of its bits that has come for the whole picture.
    lowest_bit: [u8; COEFFICIENTS],
    /// For each block of a progressive picture, which coefficients are not zero.
    nonzero: Vec<u64>,
}

/// The frame header and what has come so far.
struct Frame {
    progressive: bool,
    height: usize,
    /// Units of an interleaved scan, across and down, and rows of pixels of one.
    units: (usize, usize),
    unit_rows: usize,
    components: Vec<Component>,
}

/// The header of a scan.
struct Scan {
    /// For each of its components: number in the frame, DC table and AC table.
    components: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    first: u8,
    last: u8,
    /// Whether it adds a bit to coefficients that have come.
    refines: bool,
    /// The lowest bit it brings.
    lowest_bit: u8,
}

impl Scan {
    fn parse(body: &[u8], frame: &Frame) -> Option<Scan> {
        let (&n, rest) = body.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(n))?;
        let [first, last, bits] = *rest.first_chunk()?;
        let component = |pair: &[u8]| {
            let number = frame.components.iter().position(|c| c.id == pair[0])?;
            Some((number, usize::from(pair[1] >> 4) % 4, 4 + usize::from(pair[1] & 15) % 4))
        };
        let components: Vec<_> = selectors.chunks_exact(2).map(component).collect::<Option<_>>()?;
        let spectrum = if frame.progressive { (first, last, bits) } else { (0, 63, 0) };
        let (first, last, bits) = spectrum;
        let is_sound = (1..=4).contains(&components.len())
            && first <= last
            && usize::from(last) < COEFFICIENTS
            && (!frame.progressive || (first == 0) == (last == 0))
            && (first == 0 || components.len() == 1);
        is_sound.then_some(Scan { components, first, last, refines: bits >> 4 != 0, lowest_bit: bits & 15 })
    }
}

impl Frame {
    fn parse(body: &[u8], progressive: bool) -> Option<Frame> {
        let [precision, h1, h0, w1, w0, n] = *body.first_chunk()?;
        let height = usize::from(u16::from_be_bytes([h1, h0]));
        let width = usize::from(u16::from_be_bytes([w1, w0]));
        let specs = body.get(6..6 + 3 * usize::from(n))?;
        if precision != 8 || width == 0 || height == 0 || !(1..=4).contains(&n) {
            return None;
        }
        let factors = || specs.chunks_exact(3).map(|spec| (usize::from(spec[1] >> 4), usize::from(spec[1] & 15)));
        if factors().any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down)) {
            return None;
        }
        let (most_across, most_down) = factors().fold((1, 1), |(a, d), (across, down)| (a.max(across), d.max(down)));
        let units = (width.div_ceil(8 * most_across), height.div_ceil(8 * most_down));
        let component = |(spec, (across, down)): (&[u8], (usize, usize))| {
            let stride = units.0 * across;
            let blocks = if progressive { stride * units.1 * down } else { 0 };
            Component {
                id: spec[0],
                across,
                down,
                width: (width * across).div_ceil(8 * most_across),
                height: (height * down).div_ceil(8 * most_down),
                stride,
                lowest_bit: [u8::MAX; COEFFICIENTS],
                nonzero: vec![0; blocks],
            }
        };
        let components = specs.chunks_exact(3).zip(factors()).map(component).collect();
        Some(Frame { progressive, height, units, unit_rows: 8 * most_down, components })
    }

    fn is_whole(&self) -> bool {
        self.components.iter().all(|component| component.lowest_bit == [0; COEFFICIENTS])
    }

    /// Reads all codes of a scan.
    ///
    /// # Errors
    /// The rows of pixels that are there, when it breaks off.
    fn follow(&mut self, scan: &Scan, tables: &Tables, interval: usize, bits: &mut Bits<'_>) -> Result<(), usize> {
        let alone = match scan.components[..] {
            [(number, ..)] => Some(&self.components[number]),
            _ => None,
        };
        // The only component of a scan comes block by block, without those that fill up units.
        let (units, unit_rows) = match alone {
            Some(component) => ((component.width, component.height), self.unit_rows / component.down),
            None => (self.units, self.unit_rows),
        };
        let alone = alone.is_some();
        let mut run = 0;
        for unit in 0..units.0 * units.1 {
            let (row, column) = (unit / units.0, unit % units.0);
            let broken = (row * unit_rows).min(self.height);
            if interval > 0 && unit > 0 && unit % interval == 0 {
                bits.restart().ok_or(broken)?;
                run = 0;
            }
            for &(number, dc, ac) in &scan.components {
                let component = &mut self.components[number];
                let (across, down) = if alone { (1, 1) } else { (component.across, component.down) };
                for y in 0..down {
                    for x in 0..across {
                        let block = (row * down + y) * component.stride + column * across + x;
                        let read = if self.progressive {
                            let nonzero = &mut component.nonzero[block];
                            progressive_block(scan, &tables[dc], &tables[ac], bits, &mut run, nonzero)
                        } else {
                            sequential_block(&tables[dc], &tables[ac], bits)
                        };
                        read.ok_or(broken)?;
                    }
                }
            }
        }
        for &(number, ..) in &scan.components {
            self.components[number].lowest_bit[usize::from(scan.first)..=usize::from(scan.last)].fill(scan.lowest_bit);
        }
        Ok(())
    }
}

/// Reads one block of a sequential scan; `None` when its codes end early.
fn sequential_block(dc: &Option<Table>, ac: &Option<Table>, bits: &mut Bits<'_>) -> Option<()> {
    let (dc, ac) = (dc.as_ref()?, ac.as_ref()?);
    let size = bits.symbol(dc)?;
    bits.take(u32::from(size))?;
    let mut k = 1;
    while k < COEFFICIENTS {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && run < 15 {
            break;
        }
        bits.take(size)?;
        k += run + 1;
    }
    Some(())
}

/// Reads one block of a progressive scan; `run` is how many blocks from here on have nothing new, and `nonzero` which
/// coefficients of the block are not zero.
fn progressive_block(
    scan: &Scan,
    dc: &Option<Table>,
    ac: &Option<Table>,
    bits: &mut Bits<'_>,
    run: &mut u32,
    nonzero: &mut u64,
) -> Option<()> {
    if scan.first == 0 {
        let size = if scan.refines { 1 } else { bits.symbol(dc.as_ref()?)?.into() };
        return bits.take(size).map(drop);
    }
    let ac = ac.as_ref()?;
    let (mut k, last) = (u32::from(scan.first), u32::from(scan.last));
    if *run == 0 {
        while k <= last {
            let symbol = bits.symbol(ac)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && zeros < 15 {
                // A run of blocks that begins with the rest of this one.
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            bits.take(size)?;
            if scan.refines {
                // Coefficients that are not zero take a bit each and do not count as passed over.
                while k <= last && (zeros > 0 || *nonzero >> k & 1 == 1) {
                    if *nonzero >> k & 1 == 1 {
                        bits.take(1)?;
                    } else {
                        zeros -= 1;
                    }
                    k += 1;
                }
            } else {
                k += zeros;
            }
            if size > 0 && k <= last {
                *nonzero |= 1 << k;
            }
            k += 1;
        }
    }
    if *run > 0 {
        *run -= 1;
        if scan.refines && k <= last {
            let rest = *nonzero >> k << k << (63 - last);
            for _ in 0..rest.count_ones() {
                bits.take(1)?;
            }
        }
    }
    Some(())
}

/// The bits of entropy-coded data, up to the next marker.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `word`.
    at: usize,
    /// Bits taken from the bytes and not yet read, left-aligned.
    word: u64,
    n: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.n <= 56 {
            let step = match self.bytes.get(self.at..) {
                Some([0xFF, 0x00, ..]) => 2,
                Some([byte, ..]) if *byte != 0xFF => 1,
                _ => return,
            };
            self.word |= u64::from(self.bytes[self.at]) << (56 - self.n);
            self.n += 8;
            self.at += step;
        }
    }

    /// The next `n` bits; `None` when there are fewer, and for more than 16, which no code asks for.
    fn take(&mut self, n: u32) -> Option<u32> {
        if self.n < n {
            self.fill();
        }
        if self.n < n || n > 16 {
            return None;
        }
        // A shift by all 64 bits is none.
        let value = if n == 0 { 0 } else { (self.word >> (64 - n)) as u32 };
        self.word <<= n;
        self.n -= n;
        Some(value)
    }

    fn symbol(&mut self, table: &Table) -> Option<u8> {
        if self.n < 16 {
            self.fill();
        }
        let (len, symbol) = table.fast[(self.word >> (64 - Table::FAST)) as usize];
        if len > 0 {
            self.take(len.into())?;
            return Some(symbol);
        }
        let next = (self.word >> 48) as u32;
        let len = (Table::FAST + 1..=16).find(|&len| next < table.limit[len as usize])?;
        let code = self.take(len)?;
        let index = usize::try_from(code as i32 + table.offset[len as usize]).ok()?;
        table.symbols.get(index).copied()
    }

    /// The position behind the byte of the last bit that was read.
    fn position(&self) -> usize {
        let mut at = self.at;
        for _ in 0..self.n / 8 {
            at -= if self.bytes[..at].ends_with(&[0xFF, 0x00]) { 2 } else { 1 };
        }
        at
    }

    /// Goes on behind the restart marker that comes next.
    fn restart(&mut self) -> Option<()> {
        let at = self.position();
        let fill = self.bytes.get(at..)?.iter().take_while(|&&byte| byte == 0xFF).count();
        let is_restart = fill > 0 && matches!(self.bytes.get(at + fill), Some(0xD0..=0xD7));
        (self.at, self.word, self.n) = (at + fill + 1, 0, 0);
        is_restart.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_every_length_are_read() {
        // One code of each length: 0, 10, 110, ... and sixteen bits that are none.
        let symbols: Vec<u8> = (1..=16).collect();
        let table = Table::new(&[1; 16], &symbols).unwrap();
        let mut text = String::new();
        for len in 1..=16 {
            text += &("1".repeat(len - 1) + "0");
        }
        text += &"1".repeat(16);
        let mut bytes = Vec::new();
        for byte in text.as_bytes().chunks(8) {
            let byte = byte.iter().fold(0u8, |byte, bit| byte << 1 | (bit - b'0')) << (8 - byte.len());
            bytes.push(byte);
            if byte == 0xFF {
                bytes.push(0);
            }
        }
        let mut bits = Bits { bytes: &bytes, at: 0, word: 0, n: 0 };
        let read: Vec<u8> = std::iter::from_fn(|| bits.symbol(&table)).collect();
        assert_eq!(read, symbols);
        assert!(Table::new(&[3; 16], &[0; 48]).is_none(), "three codes of one bit");
    }

    #[test]
    fn the_position_is_behind_the_byte_of_the_last_bit() {
        let bytes = [0xFF, 0x00, 0xAB, 0xFF, 0x00, 0xFF, 0xD0, 0x80, 0xFF, 0xD9];
        let mut bits = Bits { bytes: &bytes, at: 0, word: 0, n: 0 };
        for (n, value, position) in [(4, 0xF, 2), (4, 0xF, 2), (1, 1, 3), (15, 0x2BFF, 5)] {
            assert_eq!((bits.take(n), bits.position()), (Some(value), position));
        }
        assert_eq!(bits.take(1), None);
        assert_eq!((bits.restart(), bits.take(1), bits.position()), (Some(()), Some(1), 8));
        assert_eq!(bits.restart(), None);
    }
}

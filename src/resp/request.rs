//! A request: the byte strings of one command, borrowed from the buffer that they were read into.
//!
//! INVARIANT: [`Request::wire`] is the canonical multibulk encoding of exactly [`Request::args`]. Whoever judged
//! the arguments has thereby judged the bytes; a link may send them as they are.

use std::ops::Range;

/// What a copy of a request takes in memory beside its bytes and the places of its arguments: for whoever holds it, and
/// for the allocator. An estimate, rather too much than too little.
const OVERHEAD_OF_COPY: usize = 128;

/// One command of a client: `args[0]` is the command's name, in the client's spelling.
///
/// All bytes are attacker-controlled. Cheap to copy; nothing is allocated. Has no `Debug`: arguments are secrets.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    wire: &'a [u8],
    args: &'a [Range<usize>],
}

impl<'a> Request<'a> {
    /// Joins an encoded frame with the places of its arguments in it. Only the scanner and the encoder, which
    /// prove that both belong together, call this.
    pub(crate) fn new(wire: &'a [u8], args: &'a [Range<usize>]) -> Self {
        Request { wire, args }
    }

    /// The number of arguments, the command's name included (Redis' `argc`): at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a request has at least the command's name")]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// The argument at `index` (0 is the command's name), if there is one.
    pub fn arg(&self, index: usize) -> Option<&'a [u8]> {
        self.args.get(index).and_then(|range| self.wire.get(range.clone()))
    }

    /// The command's name as the client spelled it.
    pub fn name(&self) -> &'a [u8] {
        self.arg(0).unwrap_or_default()
    }

    /// All arguments from `from` on.
    pub fn args(&self, from: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let wire = self.wire;
        self.args.iter().skip(from).filter_map(move |range| wire.get(range.clone()))
    }

    /// The canonical multibulk encoding of the arguments.
    pub fn wire(&self) -> &'a [u8] {
        self.wire
    }

    /// How many bytes of memory a copy of it takes that is kept, roughly: of many short arguments far more than they are
    /// long.
    pub fn cost(&self) -> usize {
        let places = self.args.len().saturating_mul(size_of::<Range<usize>>());
        self.wire.len().saturating_add(places).saturating_add(OVERHEAD_OF_COPY)
    }
}

/// A request that owns its bytes: for commands that are written by Redkeep itself (re-encoded inline commands,
/// renamed commands) and for tests.
#[derive(Clone, Default)]
pub struct RequestBuf {
    wire: Vec<u8>,
    args: Vec<Range<usize>>,
}

impl RequestBuf {
    /// Encodes `args` as one canonical multibulk frame.
    pub fn from_args<A: AsRef<[u8]>>(args: &[A]) -> Self {
        let mut request = RequestBuf::default();
        request.encode(args);
        request
    }

    /// Replaces the content by `args`, keeping the allocations.
    pub fn encode<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.encode_words(args.iter().map(AsRef::as_ref));
    }

    /// Replaces the content by `words`, keeping the allocations.
    pub(crate) fn encode_words<'a>(&mut self, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.wire.clear();
        self.args.clear();
        let mut digits = itoa::Buffer::new();
        self.wire.push(b'*');
        self.wire.extend_from_slice(digits.format(words.len()).as_bytes());
        self.wire.extend_from_slice(b"\r\n");
        for arg in words {
            self.wire.push(b'$');
            self.wire.extend_from_slice(digits.format(arg.len()).as_bytes());
            self.wire.extend_from_slice(b"\r\n");
            let start = self.wire.len();
            self.wire.extend_from_slice(arg);
            self.args.push(start..self.wire.len());
            self.wire.extend_from_slice(b"\r\n");
        }
    }

    /// The request as the other layers want it.
    pub fn as_request(&self) -> Request<'_> {
        Request::new(&self.wire, &self.args)
    }
}

//! The sink that has files made by several threads, while the one that reads goes on.
//!
//! What a tree is like is decided by the order in which things are made, and that stays as it is: directories and links are
//! made at once, and before anything is removed, linked to or closed to its owner, all files are there that came before.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::error::Fault;
use super::item::{Contents, Piece, Sink};
use super::place::Place;
use super::writer::Writer;

/// How many bytes of files are handed over at once. A file of as many is written by whoever reads it.
const BATCH: usize = 256 * 1024;
/// How many files are handed over at once, and how few, if the next one is in another directory: two threads in one
/// directory wait for each other.
const MOST_FILES: usize = 128;
const FEWEST_FILES: usize = 16;
/// How many batches may wait.
const WAITING: usize = 8;

/// Makes what a [`Writer`] makes.
pub(super) struct Writers {
    writer: Writer,
    batch: Batch,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    /// How many threads there may be.
    most: usize,
}

impl Writers {
    /// Writes as `writer` does, on so many threads at most, which are started as there is work for them.
    pub(super) fn new(writer: Writer, most: NonZeroUsize) -> Self {
        let (batch, queue) = (Batch::default(), Arc::new(Queue::default()));
        Self { writer, batch, queue, threads: Vec::new(), most: most.get() }
    }

    /// Waits until all files are there.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.wait()
    }

    /// Waits until all files are there that have come so far.
    fn wait(&mut self) -> Result<(), Fault> {
        if !self.batch.files.is_empty() {
            self.queue.add(&mut self.batch)?;
        }
        while let Some((number, batch)) = self.queue.try_take() {
            let (outcome, batch) = batch.write(&mut self.writer);
            self.queue.done(number, outcome, batch);
        }
        self.queue.wait()
    }

    /// Hands the batch over.
    fn send(&mut self) -> Result<(), Fault> {
        if self.threads.len() < self.most {
            let failed = |source| Fault::Local { what: "start a thread for", path: String::new(), source };
            let (mut writer, queue) = (self.writer.another().map_err(failed)?, Arc::clone(&self.queue));
            let work = move || {
                while let Some((number, batch)) = queue.take() {
                    // Whoever waits for this batch has to hear of it, whatever happens. Nothing comes after a failure.
                    let written = catch_unwind(AssertUnwindSafe(|| batch.write(&mut writer)));
                    let panicked =
                        |_| (Err(io::Error::other("a thread that writes panicked").into()), Batch::default());
                    let (outcome, batch) = written.unwrap_or_else(panicked);
                    queue.done(number, outcome, batch);
                }
            };
            self.threads.push(thread::Builder::new().spawn(work).map_err(failed)?);
        }
        self.queue.add(&mut self.batch)
    }

    /// Whether there is no more room in the batch, or a good place to end it.
    fn is_full(&self, next: &Place) -> bool {
        let Batch { files, size, .. } = &self.batch;
        let (number, size) = (files.len(), *size);
        let is_elsewhere = || files.last().is_some_and(|last| !last.place.is_beside(next));
        number >= MOST_FILES || size >= BATCH || (number >= FEWEST_FILES || size >= BATCH / 4) && is_elsewhere()
    }
}

impl Drop for Writers {
    /// Nobody writes any more once this is gone: the directory may be removed.
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // It has nothing to say that is not in the queue.
            let _ = thread.join();
        }
    }
}

/// Small files that one thread makes.
#[derive(Default)]
struct Batch {
    files: Vec<Small>,
    /// The contents of the first, then those of the second, and so on.
    pieces: Vec<Bytes>,
    /// How many bytes they have.
    size: usize,
}

/// A file of a batch.
struct Small {
    place: Place,
    mode: u32,
    number: u32,
    /// How many pieces its contents have.
    pieces: usize,
}

impl Batch {
    /// Makes the files, and lets their contents go.
    fn write(mut self, writer: &mut Writer) -> (Result<(), Fault>, Self) {
        let mut pieces = self.pieces.drain(..);
        let outcome = self.files.iter().try_for_each(|Small { place, mode, number, pieces: count }| {
            let front = pieces.by_ref().take(*count);
            writer.file(place, *mode, *number, &mut Continued { front, hole: 0, rest: &mut Nothing })
        });
        drop(pieces);
        (outcome, self)
    }
}

/// Contents of which some have been read already.
struct Continued<'a, I> {
    front: I,
    /// How many zeros come after that.
    hole: u64,
    rest: &'a mut dyn Contents,
}

impl<I: Iterator<Item = Bytes>> Contents for Continued<'_, I> {
    fn next(&mut self) -> Result<Piece, Fault> {
        if let Some(front) = self.front.next() {
            return Ok(Piece::Data(front));
        }
        match std::mem::take(&mut self.hole) {
            0 => self.rest.next(),
            hole => Ok(Piece::Hole(hole)),
        }
    }
}

/// The rest of what has been read whole.
struct Nothing;

impl Contents for Nothing {
    fn next(&mut self) -> Result<Piece, Fault> {
        Ok(Piece::End)
    }
}

/// Batches on their way, the first first.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Something has been added, or nothing more will be.
    added: Condvar,
    /// A batch has been seen to.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Batch>,
    /// The number of the first that waits, or of the next one that comes.
    next: u64,
    /// How many are being written.
    busy: usize,
    /// Memory that is used again.
    spare: Vec<Batch>,
    /// The first batch that could not be written, and why.
    failed: Option<(u64, Fault)>,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch, which is empty then, as soon as there is room.
    fn add(&self, batch: &mut Batch) -> Result<(), Fault> {
        let is_full = |state: &mut State| state.waiting.len() >= WAITING && state.failed.is_none();
        let mut state = self.done.wait_while(self.state(), is_full).unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_some() {
            drop(state);
            return self.wait();
        }
        let spare = state.spare.pop().unwrap_or_default();
        state.waiting.push_back(std::mem::replace(batch, spare));
        drop(state);
        self.added.notify_one();
        // By who made what is in it: memory that is freed by another thread than that takes far longer.
        batch.files.clear();
        batch.size = 0;
        Ok(())
    }

    /// The next batch and its number, as soon as there is one; none when nothing will come any more.
    fn take(&self) -> Option<(u64, Batch)> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        self.added.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next batch, if one waits.
    fn try_take(&self) -> Option<(u64, Batch)> {
        self.state().take()
    }

    /// Notes what has become of a batch. After one that could not be written, no other is begun.
    fn done(&self, number: u64, outcome: Result<(), Fault>, batch: Batch) {
        let mut state = self.state();
        state.busy -= 1;
        state.spare.push(batch);
        if let Err(fault) = outcome {
            state.waiting.clear();
            if state.failed.as_ref().is_none_or(|(first, _)| number < *first) {
                state.failed = Some((number, fault));
            }
        }
        drop(state);
        self.done.notify_all();
    }

    /// Waits until nothing is being written, and fails if something could not be: with the first, whoever was faster.
    fn wait(&self) -> Result<(), Fault> {
        let is_busy = |state: &mut State| state.busy > 0 || !state.waiting.is_empty();
        let mut state = self.done.wait_while(self.state(), is_busy).unwrap_or_else(PoisonError::into_inner);
        state.failed.take().map_or(Ok(()), |(_, fault)| Err(fault))
    }

    /// Lets the threads end. What has not been begun is not written.
    fn close(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.closed = true;
        drop(state);
        self.added.notify_all();
    }
}

impl State {
    fn take(&mut self) -> Option<(u64, Batch)> {
        let batch = self.waiting.pop_front()?;
        self.next += 1;
        self.busy += 1;
        Some((self.next, batch))
    }
}

impl Sink for Writers {
    fn directory(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        self.writer.directory(place, mode)
    }

    fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        if self.is_full(place) {
            self.send()?;
        }
        let Batch { files, pieces, size: total } = &mut self.batch;
        let start = pieces.len();
        let (mut size, mut hole) = (0, 0);
        while hole == 0 && size < BATCH {
            match contents.next()? {
                Piece::Data(bytes) => {
                    size += bytes.len();
                    pieces.push(bytes);
                }
                Piece::Hole(zeros) => hole = zeros,
                Piece::End => {
                    files.push(Small { place: place.clone(), mode, number, pieces: pieces.len() - start });
                    *total += size;
                    return Ok(());
                }
            }
        }
        // It is large, or has holes: it is written as it comes.
        let front = pieces.drain(start..);
        self.writer.file(place, mode, number, &mut Continued { front, hole, rest: contents })
    }

    fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault> {
        self.writer.symlink(place, target)
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        self.wait()?;
        self.writer.hard_link(place, original)
    }

    fn remove(&mut self, place: &Place, is_directory: bool) -> Result<(), Fault> {
        self.wait()?;
        self.writer.remove(place, is_directory)
    }

    fn set_mode(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        self.wait()?;
        self.writer.set_mode(place, mode)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use super::*;

    fn writers(top: &tempfile::TempDir) -> Writers {
        let top = Dir::open_ambient_dir(top.path(), ambient_authority()).unwrap();
        Writers::new(Writer::new(top).unwrap(), NonZeroUsize::new(3).unwrap())
    }

    fn place(path: &str) -> Place {
        let mut place = Place::top();
        path.split('/').for_each(|name| place.push(name.as_bytes()));
        place
    }

    fn file(writers: &mut Writers, path: &str, content: &[u8]) -> Result<(), Fault> {
        let front = Some(Bytes::copy_from_slice(content)).filter(|bytes| !bytes.is_empty()).into_iter();
        writers.file(&place(path), 0o644, 0, &mut Continued { front, hole: 0, rest: &mut Nothing })
    }

    #[test]
    fn files_of_all_sizes_are_there_in_the_end() {
        let top = tempfile::tempdir().unwrap();
        let mut writers = writers(&top);
        let sizes = [0, 1, 300, BATCH / 2, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH];
        for number in 0..500 {
            let directory = format!("d{}", number / 7);
            if number % 7 == 0 {
                writers.directory(&place(&directory), 0o755).unwrap();
            }
            let size = sizes[if number % 50 == 0 { number / 50 % sizes.len() } else { number % 3 }];
            file(&mut writers, &format!("{directory}/f{number}"), &vec![number as u8; size]).unwrap();
        }
        writers.finish().unwrap();
        for number in 0..500 {
            let size = sizes[if number % 50 == 0 { number / 50 % sizes.len() } else { number % 3 }];
            let found = fs::read(top.path().join(format!("d{}/f{number}", number / 7))).unwrap();
            assert!(found == vec![number as u8; size], "file {number} of {size} bytes");
        }
    }

    #[test]
    fn the_first_file_that_cannot_be_made_is_named_whichever_thread_comes_to_one() {
        for _ in 0..20 {
            let top = tempfile::tempdir().unwrap();
            let mut writers = writers(&top);
            for number in (200..3000).step_by(10) {
                fs::write(top.path().join(format!("f{number:05}")), "").unwrap();
            }
            let write = (0..3000).try_for_each(|number| file(&mut writers, &format!("f{number:05}"), b"content"));
            let fault = write.and_then(|()| writers.finish()).unwrap_err().to_string();
            assert!(fault.contains("f00200"), "{fault}");
        }
    }

    #[test]
    fn what_is_linked_to_or_removed_has_been_made_before() {
        for number in 0..50 {
            let top = tempfile::tempdir().unwrap();
            let mut writers = writers(&top);
            for other in 0..number {
                file(&mut writers, &format!("other{other}"), b"").unwrap();
            }
            file(&mut writers, "a", b"one").unwrap();
            writers.hard_link(&place("b"), &place("a")).unwrap();
            writers.remove(&place("a"), false).unwrap();
            file(&mut writers, "a", b"two").unwrap();
            writers.finish().unwrap();
            let read = |name| fs::read_to_string(top.path().join(name)).unwrap();
            assert_eq!((read("a"), read("b")), ("two".into(), "one".into()));
        }
    }

    #[test]
    fn a_directory_that_is_removed_and_made_again_is_filled_by_all_threads() {
        let top = tempfile::tempdir().unwrap();
        let mut writers = writers(&top);
        for content in ["old", "new"] {
            writers.directory(&place("d"), 0o755).unwrap();
            for number in 0..5 * MOST_FILES {
                file(&mut writers, &format!("d/f{number}"), content.as_bytes()).unwrap();
            }
            if content == "old" {
                for number in 0..5 * MOST_FILES {
                    writers.remove(&place(&format!("d/f{number}")), false).unwrap();
                }
                writers.remove(&place("d"), true).unwrap();
            }
        }
        writers.finish().unwrap();
        for number in 0..5 * MOST_FILES {
            assert_eq!(fs::read_to_string(top.path().join(format!("d/f{number}"))).unwrap(), "new");
        }
    }

    /// Contents that cannot be let go of by a thread that writes.
    struct Stuck(thread::ThreadId);

    impl AsRef<[u8]> for Stuck {
        fn as_ref(&self) -> &[u8] {
            b"stuck"
        }
    }

    impl Drop for Stuck {
        fn drop(&mut self) {
            assert_eq!(self.0, thread::current().id());
        }
    }

    #[test]
    fn a_thread_that_panics_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        let mut writers = writers(&top);
        let front = Some(Bytes::from_owner(Stuck(thread::current().id()))).into_iter();
        let contents = &mut Continued { front, hole: 0, rest: &mut Nothing };
        writers.file(&place("stuck"), 0o644, 0, contents).unwrap();
        // More than may wait, so that the first has been taken by another thread than this one.
        let mut others = (0..(WAITING + 5) * MOST_FILES).map(|number| format!("f{number}"));
        let written = others.try_for_each(|name| file(&mut writers, &name, b"content"));
        let fault = written.and_then(|()| writers.finish()).unwrap_err().to_string();
        assert!(fault.contains("panicked"), "{fault}");
    }

    #[test]
    fn nothing_is_written_any_more_once_it_is_dropped() {
        let top = tempfile::tempdir().unwrap();
        let mut writers = writers(&top);
        for number in 0..5_000 {
            file(&mut writers, &format!("f{number}"), b"content").unwrap();
        }
        // Each thread has the queue as long as it runs.
        let queue = Arc::downgrade(&writers.queue);
        drop(writers);
        assert_eq!(queue.strong_count(), 0);
    }

    #[test]
    fn what_waits_when_the_queue_is_closed_is_not_written() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.add(&mut Batch::default()).unwrap();
        }
        assert!(queue.take().is_some());
        queue.close();
        assert!(queue.take().is_none());
    }
}

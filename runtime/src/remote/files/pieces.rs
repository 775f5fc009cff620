//! Carries the bytes of a stream to a thread that may block, and back.
//!
//! Files are read and written by blocking calls on a thread of their own, which exchanges pieces of a bounded size with
//! the stream and waits while too many are queued. When either end is dropped, the other one notices at the next piece.

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::remote::RemoteError;
use crate::remote::stream::{CHUNK, capacity};

/// How many pieces are queued between a stream and a thread. The thread reads or writes one piece while the others come
/// or go.
const WAITING: usize = 4;

/// The size of a piece that is read from a file.
pub(super) const PIECE: usize = CHUNK;

/// Receives the pieces that come on a stream.
pub(super) type PieceReceiver = mpsc::Receiver<Bytes>;

/// Sends pieces to a stream.
pub(super) type PieceSender = mpsc::Sender<Bytes>;

/// Makes a channel for pieces.
pub(super) fn channel() -> (PieceSender, PieceReceiver) {
    mpsc::channel(WAITING)
}

/// Forwards the data of a stream, until the stream ends or the receiver is dropped.
pub(super) async fn receive_pieces(
    mut body: RecvStream,
    pieces: PieceSender,
) -> Result<(), RemoteError> {
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        let length = bytes.len();
        // The window is given back when the thread has taken the piece, so a slow disk slows the sender down.
        if pieces.send(bytes).await.is_err() {
            return Ok(());
        }
        // An error means that the stream has ended, which the next read reports.
        let _ = body.flow_control().release_capacity(length);
    }
    Ok(())
}

/// Sends pieces on a stream until there are no more. It does not end the stream.
pub(super) async fn send_pieces(
    mut pieces: PieceReceiver,
    stream: &mut SendStream<Bytes>,
) -> Result<(), RemoteError> {
    while let Some(piece) = pieces.recv().await {
        send(stream, piece).await?;
    }
    Ok(())
}

/// Sends bytes on a stream as there is room.
pub(super) async fn send(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
) -> Result<(), RemoteError> {
    while !bytes.is_empty() {
        let room = capacity(stream, bytes.len()).await?;
        stream.send_data(bytes.split_to(room), false)?;
    }
    Ok(())
}

/// Reads a short stream to its end.
pub(super) async fn read_all(mut body: RecvStream, most: usize) -> Result<Vec<u8>, RemoteError> {
    let mut all = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        if all.len() + bytes.len() > most {
            let message = format!("a message about files has more than {most} bytes");
            return Err(RemoteError::Malformed(message));
        }
        all.extend_from_slice(&bytes);
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    Ok(all)
}

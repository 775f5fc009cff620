//! The stream of messages between an agent and its dispatcher.

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::sync::mpsc;

use super::event::SessionEvent;
use crate::remote::RemoteError;
use crate::remote::message::{FromAgent, Lines};
use crate::remote::stream::send_line;

/// Reads the dispatcher's messages until the stream ends.
pub(super) async fn receive_messages(
    mut body: RecvStream,
    news: mpsc::UnboundedSender<SessionEvent>,
) {
    let mut lines = Lines::default();
    let error = loop {
        let bytes = match body.data().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => break error.into(),
            None => break RemoteError::Closed,
        };
        lines.push(&bytes);
        // An error means that the stream has ended, which the next read reports.
        let _ = body.flow_control().release_capacity(bytes.len());
        loop {
            match lines.next() {
                Ok(Some(message)) => drop(news.send(SessionEvent::Message(message))),
                Ok(None) => break,
                Err(error) => {
                    let _ = news.send(SessionEvent::NoMoreMessages(error));
                    return;
                }
            }
        }
    };
    let _ = news.send(SessionEvent::NoMoreMessages(error));
}

/// Sends messages to the dispatcher until the stream ends.
pub(super) async fn send_messages(
    mut to_send: mpsc::UnboundedReceiver<FromAgent>,
    mut stream: SendStream<Bytes>,
    news: mpsc::UnboundedSender<SessionEvent>,
) {
    while let Some(message) = to_send.recv().await {
        if let Err(error) = send_line(&mut stream, &message).await {
            let _ = news.send(SessionEvent::NoMoreMessages(error));
            return;
        }
    }
}

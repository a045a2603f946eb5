//! The life of a relay in a time of its own, which passes only where everybody waits.

use std::time::Duration;

use prometheus::IntCounter;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::*;

const TERMS: Terms = Terms {
    idle: Duration::from_secs(1000),
    close: Duration::from_secs(1000),
    write: Duration::from_secs(1000),
    message: 1 << 20,
    deflate: false,
};

/// Relays between a client and a service that do what the script says.
async fn relayed(terms: Terms, script: impl AsyncFnOnce(DuplexStream, DuplexStream)) -> Ended {
    let ((client, ours), (service, theirs)) = (duplex(4096), duplex(4096));
    let counts = ["messages", "bytes"].map(|name| IntCounter::new(name, name).unwrap());
    let counts = [(); 2].map(|()| Counts { messages: counts[0].clone(), bytes: counts[1].clone() });
    let (_end, ending) = watch::channel(false);
    let mut ended = Ended::default();
    let pump = pump((ours, theirs), (Bytes::new(), Bytes::new()), terms, &counts, ending, &mut ended);
    tokio::join!(pump, script(client, service));
    ended
}

/// What comes next, as a Close without a mask.
async fn closed(side: &mut DuplexStream) -> u16 {
    assert_eq!(side.read_u8().await.unwrap(), 0x88);
    let mut payload = vec![0; side.read_u8().await.unwrap().into()];
    side.read_exact(&mut payload).await.unwrap();
    u16::from_be_bytes([payload[0], payload[1]])
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_is_read_no_more() {
    let terms = Terms { message: 1000, ..TERMS };
    let ended = relayed(terms, async |mut client, _service| {
        client.write_all(b"\x81\x00 without a mask").await.unwrap();
        assert_eq!(closed(&mut client).await, 1002);
        let mut taken = 0;
        while let Ok(Ok(count)) = timeout(Duration::from_secs(100), client.write(&[0; 4096])).await {
            taken += count;
            assert!(taken < 64 * 1024, "{taken} bytes are read of it");
        }
        assert!(taken > 16 * 1024, "the end is waited for: {taken}");
    });
    assert_eq!(ended.await.close.map(|closed| closed.how), Some(How::Violation));
}

#[tokio::test(start_paused = true)]
async fn while_a_side_is_slow_to_take_what_it_gets_nobody_is_idle() {
    let terms = Terms { idle: Duration::from_secs(1), write: Duration::from_secs(10), ..TERMS };
    let ended = relayed(terms, async |mut client, mut service| {
        let read = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                client.read_exact(&mut [0; 50_000]).await.unwrap();
            }
            let before = Instant::now();
            assert_eq!(closed(&mut client).await, 1001);
            before.elapsed()
        };
        let write = async {
            service.write_all(&[&[0x82, 127][..], &199_990_u64.to_be_bytes(), &[0; 199_990]].concat()).await.unwrap();
        };
        let (quiet, ()) = tokio::join!(read, write);
        assert!(quiet > Duration::from_millis(900) && quiet < Duration::from_millis(1100), "it counts from the last byte on: {quiet:?}");
    });
    assert_eq!(ended.await.close.map(|closed| closed.how), Some(How::Idle));
}

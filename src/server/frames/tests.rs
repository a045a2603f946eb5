use super::heads::tests::frame;
use super::*;

fn greeted(control: u32, resets: u32) -> Frames {
    let mut frames = Frames::new(&Allowance { control, resets, header: Duration::from_secs(10) });
    frames.came(&[PREFACE, &frame(SETTINGS, 0, &[])].concat());
    assert_eq!((frames.verdict.get(), frames.due()), (None, None));
    frames
}

#[test]
fn frames_that_bring_nothing_are_bounded_and_others_pay_for_them() {
    for (kind, flags, payload, excess) in [
        (SETTINGS, 0, &[][..], Excess::Settings),
        (PING, 0, &[0; 8], Excess::Ping),
        (PRIORITY, 0, &[0; 5], Excess::Priority),
        (WINDOW, 0, &[0, 0, 0, 1], Excess::Window),
        (DATA, 0, &[], Excess::EmptyData),
        (DATA, PADDED, &[20; 21], Excess::EmptyData),
        (CONTINUATION, END_HEADERS, &[], Excess::Continuation),
        (0x42, 0, &[], Excess::Other),
    ] {
        let flood = frame(kind, flags, payload);
        let mut frames = greeted(10, 10);
        for count in 0..10_000 {
            frames.came(&flood);
            if frames.is_over() {
                assert!((99..1000).contains(&count), "{excess:?} after {count}");
                break;
            }
        }
        assert_eq!(frames.verdict.get(), Some(excess));

        let mut frames = greeted(10, 10);
        for _ in 0..1000 {
            frames.came(&frame(DATA, 0, b"x"));
            frames.went(&frame(DATA, 0, b"x"));
            for _ in 0..2 * FREE {
                frames.came(&flood);
            }
        }
        assert_eq!(frames.verdict.get(), None, "{excess:?}");
    }
}

#[test]
fn a_client_that_reads_in_small_pieces_gives_back_room_often() {
    let mut frames = greeted(10, 10);
    let (piece, room) = (frame(DATA, 0, &[0; 16 * 1024]), frame(WINDOW, 0, &[0, 0, 4, 0]));
    // All that its window has room for, and then all that it reads of it.
    (0..400).for_each(|_| frames.went(&piece));
    (0..400 * 16).for_each(|_| frames.came(&room));
    assert_eq!(frames.verdict.get(), None);
    (0..1000).for_each(|_| (0..3).for_each(|_| frames.came(&room)));
    assert_eq!(frames.verdict.get(), Some(Excess::Window), "more than it was sent");
}

#[test]
fn requests_taken_back_are_bounded_and_answers_pay_for_them() {
    let (request, reset) = (frame(HEADERS, END_STREAM | END_HEADERS, &[0x82]), frame(RESET, 0, &[0, 0, 0, 8]));
    let mut frames = greeted(10, 10);
    for _ in 0..1000 {
        frames.came(&request);
        frames.went(&frame(HEADERS, END_STREAM | END_HEADERS, &[0x88]));
        frames.came(&reset);
    }
    assert_eq!(frames.verdict.get(), None);
    for _ in 0..100 {
        frames.came(&request);
        frames.came(&reset);
    }
    assert_eq!(frames.verdict.get(), Some(Excess::Resets));
}

#[test]
fn a_client_that_has_us_reset_its_requests_pays_for_that_too() {
    let mut frames = greeted(10, 10);
    for _ in 0..100 {
        frames.went(&frame(RESET, 0, &[0, 0, 0, 2]));
    }
    assert_eq!(frames.verdict.get(), None, "an error of ours is not the client's");
    for _ in 0..100 {
        frames.went(&frame(RESET, 0, &[0, 0, 0, 3]));
    }
    assert_eq!(frames.verdict.get(), Some(Excess::Resets));
}

#[test]
fn what_the_library_has_enough_of_is_found_in_its_last_word() {
    let mut frames = greeted(10, 10);
    frames.went(&frame(GOAWAY, 0, &[&[0, 0, 0, 1, 0, 0, 0, 1][..], b"too_many_resets"].concat()));
    assert_eq!(frames.verdict.of_library(), None, "a PROTOCOL_ERROR");
    frames.went(&frame(GOAWAY, 0, &[&[0, 0, 0, 1, 0, 0, 0, 11][..], b"too_many_resets"].concat()));
    assert_eq!((frames.verdict.of_library(), frames.verdict.get()), (Some(Excess::Resets), None));
}

#[test]
fn a_header_has_its_time_over_all_its_frames_and_a_body_has_its_own() {
    let mut frames = greeted(10, 10);
    let whole = frame(HEADERS, END_HEADERS, &[0x82]);
    frames.came(&whole[..4]);
    let due = frames.due();
    assert!(due.is_some());
    frames.came(&whole[4..]);
    assert_eq!(frames.due(), None);
    frames.came(&frame(HEADERS, 0, &[0x82]));
    let due = frames.due();
    assert!(due.is_some());
    frames.came(&frame(CONTINUATION, 0, &[0x82]));
    assert_eq!(frames.due(), due);
    frames.came(&frame(CONTINUATION, END_HEADERS, &[0x82]));
    assert_eq!(frames.due(), None);
    frames.came(&frame(DATA, 0, &[0; 100])[..50]);
    assert_eq!(frames.due(), None);
}

#[test]
fn the_first_frame_is_settings_and_comes_in_time() {
    let mut frames = Frames::new(&Allowance { control: 10, resets: 10, header: Duration::from_secs(10) });
    frames.came(PREFACE);
    assert!(frames.due().is_some() && !frames.is_over());
    frames.came(&frame(PING, 0, &[0; 8]));
    assert_eq!(frames.verdict.get(), Some(Excess::NoSettings));
}

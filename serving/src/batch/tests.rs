use super::*;

const MS: Duration = Duration::from_millis(1);

fn queue(max_rows: usize, max_delay: Duration) -> Queue<&'static str, u32> {
    Queue::new(Rules {
        max_rows,
        max_bytes: 1_000,
        max_delay,
    })
}

fn ticket(bucket: &'static str, rows: usize) -> Ticket<&'static str> {
    Ticket {
        bucket,
        rows,
        bytes: 1,
        priority: 0,
        deadline: None,
    }
}

fn next(queue: &mut Queue<&'static str, u32>, now: Instant) -> Next<u32> {
    queue.next(now, |_| false)
}

#[test]
fn whoever_is_idle_gets_what_is_there_at_once() {
    let (mut queue, now) = (queue(8, Duration::ZERO), Instant::now());
    assert_eq!(next(&mut queue, now), Next::Wait(None));
    queue.push(ticket("a", 1), 1, now);
    assert_eq!(next(&mut queue, now), Next::Run(vec![1]));
    for job in 2..5 {
        queue.push(ticket("a", 1), job, now);
    }
    assert_eq!(next(&mut queue, now), Next::Run(vec![2, 3, 4]));
    assert!(queue.is_empty());
}

#[test]
fn a_batch_has_at_most_so_many_rows_and_keeps_the_order() {
    let (mut queue, now) = (queue(8, Duration::ZERO), Instant::now());
    for (job, rows) in [(1, 5), (2, 4), (3, 1), (4, 3), (5, 1)] {
        queue.push(ticket("a", rows), job, now);
    }
    assert_eq!(next(&mut queue, now), Next::Run(vec![1]));
    assert_eq!(next(&mut queue, now), Next::Run(vec![2, 3, 4]));
    assert_eq!(next(&mut queue, now), Next::Run(vec![5]));
}

#[test]
fn shapes_that_differ_run_apart_and_the_oldest_goes_first() {
    let (mut queue, now) = (queue(8, Duration::ZERO), Instant::now());
    for (job, bucket) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        queue.push(ticket(bucket, 1), job, now);
    }
    assert_eq!(next(&mut queue, now), Next::Run(vec![1, 3]));
    assert_eq!(next(&mut queue, now), Next::Run(vec![2, 4]));
}

#[test]
fn the_urgent_go_before_those_that_came_before() {
    let (mut queue, now) = (queue(2, Duration::ZERO), Instant::now());
    for (job, priority) in [(1, 2), (2, 2), (3, 1), (4, 2)] {
        let ticket = Ticket {
            priority,
            ..ticket("a", 1)
        };
        queue.push(ticket, job, now);
    }
    assert_eq!(next(&mut queue, now), Next::Run(vec![3, 1]));
    assert_eq!(next(&mut queue, now), Next::Run(vec![2, 4]));
}

#[test]
fn a_delay_holds_back_what_is_not_full_and_no_longer_than_it_says() {
    let (mut queue, start) = (queue(4, 10 * MS), Instant::now());
    queue.push(ticket("a", 1), 1, start);
    assert_eq!(next(&mut queue, start), Next::Wait(Some(start + 10 * MS)));
    queue.push(ticket("a", 2), 2, start + 5 * MS);
    assert_eq!(
        next(&mut queue, start + 5 * MS),
        Next::Wait(Some(start + 10 * MS)),
        "the oldest decides"
    );
    assert_eq!(next(&mut queue, start + 10 * MS), Next::Run(vec![1, 2]));
    queue.push(ticket("a", 4), 3, start + 11 * MS);
    assert_eq!(
        next(&mut queue, start + 11 * MS),
        Next::Run(vec![3]),
        "it is full"
    );
}

#[test]
fn a_bucket_that_may_wait_does_not_hold_up_another_that_is_full() {
    let (mut queue, start) = (queue(2, 10 * MS), Instant::now());
    queue.push(ticket("a", 1), 1, start);
    queue.push(ticket("b", 2), 2, start + MS);
    assert_eq!(next(&mut queue, start + MS), Next::Run(vec![2]));
    assert_eq!(
        next(&mut queue, start + MS),
        Next::Wait(Some(start + 10 * MS))
    );
}

#[test]
fn nobody_computes_for_those_who_have_left_or_are_too_late() {
    let (mut queue, start) = (queue(8, Duration::ZERO), Instant::now());
    for job in 1..6 {
        let deadline = (job % 2 == 0).then_some(start + MS);
        let ticket = Ticket {
            deadline,
            ..ticket("a", 1)
        };
        queue.push(ticket, job, start);
    }
    let next = queue.next(start + MS, |job| *job == 3);
    assert_eq!(next, Next::Run(vec![1, 5]));
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_queue_of_the_late_alone_is_empty() {
    let (mut queue, start) = (queue(8, 10 * MS), Instant::now());
    let ticket = Ticket {
        deadline: Some(start),
        ..ticket("a", 1)
    };
    queue.push(ticket, 1, start);
    assert_eq!(next(&mut queue, start), Next::Wait(None));
    assert!(queue.is_empty());
}

#[test]
fn whoever_has_left_takes_nobodys_place() {
    let (mut queue, start) = (queue(8, Duration::ZERO), Instant::now());
    for job in 1..5 {
        queue.push(ticket("a", 1), job, start);
    }
    queue.purge(start, |job| job % 2 == 0);
    assert_eq!(queue.len(), 2);
    assert_eq!(next(&mut queue, start), Next::Run(vec![1, 3]));
}

#[test]
fn a_batch_has_at_most_so_many_bytes() {
    let (mut queue, start) = (queue(8, 10 * MS), Instant::now());
    for (job, bytes) in [(1, 2_000), (2, 600), (3, 300), (4, 200)] {
        let ticket = Ticket {
            bytes,
            ..ticket("a", 1)
        };
        queue.push(ticket, job, start);
    }
    assert_eq!(
        next(&mut queue, start),
        Next::Run(vec![1]),
        "it is large, and alone"
    );
    assert_eq!(next(&mut queue, start), Next::Run(vec![2, 3]));
    assert_eq!(next(&mut queue, start), Next::Wait(Some(start + 10 * MS)));
}

#[test]
fn nobody_waits_for_more_beyond_half_of_the_time_that_there_is() {
    let (mut queue, start) = (queue(8, 10 * MS), Instant::now());
    let hasty = Ticket {
        deadline: Some(start + 6 * MS),
        ..ticket("a", 1)
    };
    queue.push(hasty, 1, start);
    assert_eq!(next(&mut queue, start), Next::Wait(Some(start + 3 * MS)));
    assert_eq!(next(&mut queue, start + 3 * MS), Next::Run(vec![1]));
}

#[test]
fn when_nothing_more_can_come_nothing_waits() {
    let (mut queue, start) = (queue(8, 10 * MS), Instant::now());
    queue.push(ticket("a", 1), 1, start);
    queue.hurry();
    assert_eq!(next(&mut queue, start), Next::Run(vec![1]));
}

#[test]
fn as_many_as_fit_into_a_batch_want_no_more() {
    let (mut queue, now) = (queue(2, Duration::ZERO), Instant::now());
    queue.push(ticket("a", 1), 1, now);
    assert!(queue.wants_more());
    queue.push(ticket("b", 1), 2, now);
    assert!(!queue.wants_more());
}

//! Listings in every store: orders, pages and filters.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan};
use urlshort::{
    link::{
        Link, LinkState,
        options::{Options, Tags},
    },
    store::{
        History, Store,
        listing::{Filter, Listing, Order},
    },
};

use super::{counts::tally, put};
use crate::support::{link, with};

/// Creates 30 links in groups of three with the same creation time.
///
/// If `n` is divisible by three, link number `n` has `n / 6` clicks. Other links have none.
async fn put_thirty(store: &Arc<dyn Store>) {
    for n in 0..30_u8 {
        let created = link("a", "https://example.com").created_at + i64::from(n / 3).seconds();
        let tag = if n % 2 == 0 { "even" } else { "odd" };
        let options = Options {
            tags: Tags::parse([tag]).unwrap(),
            title: (n == 4).then(|| "The FOURTH".parse().unwrap()),
            ..Options::default()
        };
        let new = link(&format!("k{n:02}"), &format!("https://{n}.example"));
        let new = Link { created_at: created, ..with(options, new) };
        let history =
            History { undated_clicks: if n % 3 == 0 { (n / 6).into() } else { 0 }, ..History::default() };
        assert!(store.put_if_absent(new, history).await.unwrap());
    }
}

/// Returns the numbers of the listed links, grouped by page.
async fn pages(store: &Arc<dyn Store>, mut listing: Listing) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    loop {
        let page = store.list(&listing).await.unwrap();
        assert_eq!(page.searched, None, "thirty links take less than the time of a search");
        let number = |key: &str| key[1..].parse::<u8>().unwrap();
        pages.push(page.records.iter().map(|record| number(record.link.key.as_str())).collect());
        match page.next {
            None => return pages,
            next => listing.after = next,
        }
    }
}

pub(super) async fn links_are_listed_in_order_page_by_page(store: Arc<dyn Store>) {
    put_thirty(&store).await;
    let listing = |order, limit| Listing { order, limit, ..Listing::default() };
    let newest: Vec<u8> = (0..30).rev().collect();
    for limit in [1, 7, 29, 30, 100] {
        let listed = pages(&store, listing(Order::Newest, limit)).await;
        assert_eq!(listed.concat(), newest, "{limit} a page");
        assert_eq!(listed.len(), 30_usize.div_ceil(limit));
    }
    assert_eq!(pages(&store, listing(Order::Oldest, 4)).await.concat(), (0..30).collect::<Vec<_>>());
    let clicked = [27, 24, 21, 18, 15, 12, 9, 6];
    assert_eq!(pages(&store, listing(Order::MostClicked, 3)).await.concat(), clicked);
}

/// Creates unusual links, each named after its peculiarity.
///
/// Returns the creation time that all of them share.
async fn put_odd_links(store: &Arc<dyn Store>) -> Timestamp {
    let now = link("k", "https://example.com").created_at;
    let titled = |text: &str| Options { title: Some(text.parse().unwrap()), ..Options::default() };
    let tagged = |text| Options { tags: Tags::parse([text]).unwrap(), ..Options::default() };
    let until = |time| Options { expires_at: Some(time), ..Options::default() };
    let limited = Options { max_visits: NonZeroU32::new(2), ..Options::default() };
    let (before, after) = (now - 1.milliseconds(), now + 1.milliseconds());
    let target = "https://odd.example/%22?q=a_b%25";
    let odd = |key: &str, options| with(options, link(key, target));
    let by = |name: &str, mut link: Link| {
        link.doc.created_by = name.parse().unwrap();
        link
    };
    let mut taken_down = odd("down", until(before));
    taken_down.doc.taken_down_at = Some(now);
    put(
        store,
        [
            by("anna", odd("quoted", titled(r#"say "Grüße\Ω", "created_by":"import" or "tags":["x"]"#))),
            by("anna", odd("wild", titled("100%_sure"))),
            by("import", odd("tagged", tagged(r#"a "b"\c"#))),
            by("import", odd("titled-as-the-tag", titled(r#"a "b"\c"#))),
            odd("starts", Options { starts_at: Some(after), ..Options::default() }),
            odd("started", Options { starts_at: Some(now), ..Options::default() }),
            odd("ends", until(after)),
            odd("ended", until(now)),
            odd("limited", limited.clone()),
            taken_down,
            link("Plain", "https://odd.example/%22?q=a_b%2"),
        ],
    )
    .await;
    let used_up = History { visits: 2, undated_clicks: 2, ..History::default() };
    assert!(store.put_if_absent(odd("used-up", limited), used_up).await.unwrap());
    now
}

/// Returns the keys of all links that match a filter, in alphabetical order.
async fn found(store: &Arc<dyn Store>, order: Order, filter: &Filter) -> Vec<String> {
    let mut listing = Listing { order, limit: 2, filter: filter.clone(), ..Listing::default() };
    let mut keys = Vec::new();
    loop {
        let page = store.list(&listing).await.unwrap();
        assert!(page.damaged.is_empty());
        keys.extend(page.records.iter().map(|record| record.link.key.to_string()));
        listing.after = page.next;
        if listing.after.is_none() {
            keys.sort_unstable();
            return keys;
        }
    }
}

pub(super) async fn a_filter_finds_the_same_links_in_every_store(store: Arc<dyn Store>) {
    let now = put_odd_links(&store).await;
    let all = Filter::default();
    let search = |text: &str| Filter { search: Some(text.parse().unwrap()), ..all.clone() };
    let tag = |text: &str| Filter { tag: Some(text.parse().unwrap()), ..all.clone() };
    let by = |text: &str| Filter { created_by: Some(text.parse().unwrap()), ..all.clone() };
    let state = |state| Filter { state: Some((state, now.into())), ..all.clone() };
    let target = |text: &str| Filter { target: Some(text.parse().unwrap()), ..all.clone() };
    let target_text = "HTTPS://ODD.example:443/%22?q=a_b%25";
    let rows: [(Filter, &[&str]); 27] = [
        (search("GRÜSSE"), &[]),
        (search("GRÜßE"), &["quoted"]),
        (search(r#""grüße\ω""#), &["quoted"]),
        (search("100%_"), &["wild"]),
        (search("0%s"), &[]),
        (search("pLAI"), &["Plain"]),
        (
            search("a_b%2"),
            &[
                "Plain",
                "down",
                "ended",
                "ends",
                "limited",
                "quoted",
                "started",
                "starts",
                "tagged",
                "titled-as-the-tag",
                "used-up",
                "wild",
            ],
        ),
        (search("a_b%25\""), &[]),
        (search("max_visits"), &[]),
        (search("created_by"), &["quoted"]),
        (search("\u{0}"), &[]),
        (tag(r#"a "b"\c"#), &["tagged"]),
        (tag("x"), &[]),
        (tag("a "), &[]),
        (by("anna"), &["quoted", "wild"]),
        (by("import"), &["tagged", "titled-as-the-tag"]),
        (by("public"), &["Plain", "down", "ended", "ends", "limited", "started", "starts", "used-up"]),
        (by("ann"), &[]),
        (state(LinkState::Scheduled), &["starts"]),
        (state(LinkState::Expired), &["ended"]),
        (state(LinkState::UsedUp), &["used-up"]),
        (state(LinkState::TakenDown), &["down"]),
        (
            state(LinkState::Active),
            &["Plain", "ends", "limited", "quoted", "started", "tagged", "titled-as-the-tag", "wild"],
        ),
        (target("https://odd.example/%22?q=a_b%2"), &["Plain"]),
        (target("https://odd.example/"), &[]),
        (Filter { created_by: by("anna").created_by, ..search("SURE") }, &["wild"]),
        (
            Filter {
                state: state(LinkState::TakenDown).state,
                created_by: by("public").created_by,
                ..target(target_text)
            },
            &["down"],
        ),
    ];
    for (filter, expected) in rows {
        for order in [Order::Newest, Order::Oldest] {
            assert_eq!(found(&store, order, &filter).await, expected, "{order:?} {filter:?}");
        }
        let clicked: &[&str] = if expected.contains(&"used-up") { &["used-up"] } else { &[] };
        assert_eq!(found(&store, Order::MostClicked, &filter).await, clicked, "{filter:?}");
    }
}

pub(super) async fn filtered_links_are_listed_page_by_page(store: Arc<dyn Store>) {
    put_thirty(&store).await;
    let find = |search: Option<&str>, tag: Option<&str>| Listing {
        order: Order::Oldest,
        limit: 4,
        filter: Filter {
            search: search.map(|text| text.parse().unwrap()),
            tag: tag.map(|tag| tag.parse().unwrap()),
            ..Filter::default()
        },
        ..Listing::default()
    };
    assert_eq!(pages(&store, find(Some("fourth"), None)).await, [[4]]);
    assert_eq!(pages(&store, find(Some("K2"), None)).await.concat(), (20..30).collect::<Vec<_>>());
    assert_eq!(pages(&store, find(Some("//7."), None)).await, [[7]]);
    assert_eq!(pages(&store, find(None, Some("odd"))).await.concat(), (1..30).step_by(2).collect::<Vec<_>>());
    assert_eq!(pages(&store, find(Some("k1"), Some("even"))).await.concat(), [10, 12, 14, 16, 18]);
    assert_eq!(pages(&store, find(Some("%"), None)).await, [[0_u8; 0]]);
    assert_eq!(pages(&store, find(None, Some("eve"))).await, [[0_u8; 0]]);
}

/// The number of links to create.
///
/// A store reads fewer links than this between two checks of the clock.
const MANY: usize = 5000;

pub(super) async fn a_search_stops_when_its_time_is_up_and_can_be_continued(store: Arc<dyn Store>) {
    put(&store, (0..MANY).map(|n| link(&format!("k{n}"), &format!("https://{n}.example")))).await;
    let tallies = (0..MANY).map(|n| tally(&format!("k{n}"), 1, r#"{"people":1}"#));
    let mut tallies: Vec<_> = tallies.collect();
    tallies.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    // A store may add larger batches later.
    for tallies in tallies.chunks(250) {
        assert!(store.add_clicks(tallies.to_vec()).await.unwrap().is_empty());
    }
    let filter = Filter { search: Some("//777.".parse().unwrap()), ..Filter::default() };
    for order in [Order::Newest, Order::Oldest, Order::MostClicked] {
        let search_time = Duration::ZERO;
        let mut listing =
            Listing { order, limit: 10, filter: filter.clone(), search_time, ..Listing::default() };
        let (mut found, mut searched) = (Vec::new(), 0);
        loop {
            let page = store.list(&listing).await.unwrap();
            assert_eq!(page.searched.is_some(), page.next.is_some(), "the page was not full");
            assert!(page.searched.is_none_or(|number| number > 0), "each call makes progress");
            searched += page.searched.unwrap_or_default();
            found.extend(page.records);
            listing.after = page.next;
            if listing.after.is_none() {
                break;
            }
        }
        let [record] = &found[..] else { panic!("{} links found", found.len()) };
        assert_eq!(record.link.key.as_str(), "k777");
        // The memory store reads all links in one call, so it never returns a partial result.
        assert_eq!(searched > 0, store.name() != "memory", "{order:?}");
        assert!(usize::try_from(searched).unwrap() < MANY, "no link is read twice");
    }
}

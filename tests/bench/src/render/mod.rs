//! Pictures side by side: every contender takes the same pages with the same Chromium, in one run whose rounds begin with
//! another contender each time.
//!
//! A round is so many pictures of one page by one contender, at one number of callers. What is compared is compared within a
//! round, and the median of the rounds is what counts: the machine may be busy with other things, but then it is so for
//! all.

mod contender;
pub(crate) mod handler;
pub(crate) mod raw;
mod report;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contender::{Contender, Machine};
use report::{Round, Run};

use crate::meter;
use crate::pages::{self, Page};

/// Callers at once, where not one alone.
const TOGETHER: usize = 4;

struct Plan {
    rounds: usize,
    /// Pictures of a round, for one caller and for several.
    alone: usize,
    together: usize,
    pages: Vec<Page>,
    /// Pages that are also taken by several callers at once.
    shared: Vec<Page>,
}

fn plan(quick: bool) -> Plan {
    match quick {
        true => Plan {
            rounds: 2,
            alone: 3,
            together: 4,
            pages: vec![pages::TRIVIAL, pages::PDF],
            shared: vec![pages::TRIVIAL],
        },
        false => Plan {
            rounds: 5,
            alone: 6,
            together: 16,
            pages: vec![pages::TRIVIAL, pages::TEXT, pages::IMAGES, pages::TALL_PAGE, pages::PDF],
            shared: vec![pages::TRIVIAL, pages::IMAGES],
        },
    }
}

pub(crate) fn measure(options: &[&str]) {
    let quick = options.contains(&"--quick");
    let only = options.iter().find_map(|option| option.strip_prefix("--only="));
    let Some(machine) = machine() else {
        eprintln!("there is no Chromium: SNAPHOOK_RENDER_CHROMIUM names one");
        std::process::exit(1);
    };
    let run = snaphook_tests::run(async {
        let mut contenders = contender::start_all(&machine, quick, only).await;
        let run = rounds(&machine, &mut contenders, &plan(quick)).await;
        for contender in contenders {
            contender.end().await;
        }
        run
    });
    let failures: usize = run.rounds.iter().map(|round| round.failures.len()).sum();
    match report::write(&run) {
        Ok(folder) => println!("{}\n(also in {})", report::markdown(&run), folder.display()),
        Err(error) => eprintln!("the report could not be written: {error}"),
    }
    if failures > 0 {
        eprintln!("{failures} pictures failed; the first: {:?}", run.first_failure());
        std::process::exit(1);
    }
}

fn machine() -> Option<Machine> {
    let configured = std::env::var("SNAPHOOK_RENDER_CHROMIUM").unwrap_or_default();
    let shell = snaphook::render::find_chromium(&configured)?.display().to_string();
    let path = std::env::var_os("PATH")?;
    let full = std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|file| file.is_file() && *file != std::path::Path::new(&shell));
    // What makes pictures differ is the same for all; the rest is as each contender would have it.
    let mut flags = ["--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "--mute-audio"]
        .map(str::to_owned)
        .to_vec();
    if rustix::process::geteuid().is_root() {
        flags.push("--no-sandbox".to_owned());
    }
    let full = full.map(|file| file.display().to_string());
    Some(Machine { shell, full, flags, concurrency: TOGETHER })
}

async fn rounds(machine: &Machine, contenders: &mut [Contender], plan: &Plan) -> Run {
    let site = pages::start();
    let mut run = Run::new(machine, contenders);
    for page in [pages::TRIVIAL, pages::PDF] {
        for contender in &*contenders {
            // The first pictures of a browser are not like the others.
            burst(contender, page, &site.url(), 1, 2).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    run.idle = contenders.iter().filter_map(|contender| contender.backend()).map(meter::resident).min();
    for page in &plan.pages {
        for round in 0..plan.rounds {
            contenders.rotate_left(usize::from(round > 0));
            for callers in [1, TOGETHER] {
                if callers > 1 && !plan.shared.iter().any(|shared| shared.name == page.name) {
                    continue;
                }
                let pictures = if callers == 1 { plan.alone } else { plan.together };
                for contender in &*contenders {
                    run.rounds.push(burst(contender, *page, &site.url(), callers, pictures).await.named(round));
                }
            }
            eprintln!("{}: round {} of {}", page.name, round + 1, plan.rounds);
        }
        // Looking at memory takes time from those that are looked at, so it is done apart.
        for contender in &*contenders {
            let peak = peak_memory(contender, *page, &site.url()).await;
            run.memory.push((contender.name, page.name, peak));
        }
    }
    run.finish();
    run
}

/// So many pictures by so many callers, each of whom waits for one before it asks for the next.
async fn burst(contender: &Contender, page: Page, site: &str, callers: usize, pictures: usize) -> Round {
    let url = format!("{site}{}", page.path);
    let taken = AtomicUsize::new(0);
    let (latencies, failures, bytes) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), AtomicUsize::new(0));
    let (cpu, began) = (contender.meter.cpu(), Instant::now());
    let caller = async || {
        while taken.fetch_add(1, Ordering::Relaxed) < pictures {
            let asked = Instant::now();
            match contender.shoot(page, &url).await {
                Ok(size) => {
                    latencies.lock().unwrap_or_else(PoisonError::into_inner).push(asked.elapsed());
                    bytes.store(size.unwrap_or(0), Ordering::Relaxed);
                }
                Err(error) => failures.lock().unwrap_or_else(PoisonError::into_inner).push(error),
            }
        }
    };
    futures::future::join_all((0..callers).map(|_| caller())).await;
    let wall = began.elapsed();
    // What a picture leaves to be done after its answer belongs to it.
    tokio::time::sleep(Duration::from_millis(60)).await;
    Round {
        contender: contender.name,
        page: page.name,
        callers,
        round: 0,
        pictures,
        wall,
        cpu: contender.meter.cpu().saturating_sub(cpu),
        latencies: latencies.into_inner().unwrap_or_else(PoisonError::into_inner),
        bytes: bytes.into_inner(),
        failures: failures.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

async fn peak_memory(contender: &Contender, page: Page, site: &str) -> u64 {
    let peak = AtomicU64::new(0);
    let look = async {
        loop {
            peak.fetch_max(tokio::task::block_in_place(|| contender.meter.memory()), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = look => {}
        _ = burst(contender, page, site, TOGETHER, TOGETHER * 2) => {}
    }
    peak.into_inner()
}

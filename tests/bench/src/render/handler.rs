//! chromiumoxide as its documentation has it: its own handler on a DevTools port, a context for each picture. It says what the
//! client of our own is there for.

use std::sync::Arc;

use chromiumoxide::cdp::browser_protocol::browser::{BrowserContextId, CloseParams};
use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotFormat, PrintToPdfParams};
use chromiumoxide::cdp::browser_protocol::target::{CreateBrowserContextParams, CreateTargetParams};
use chromiumoxide::handler::viewport::Viewport;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, BrowserConfig};
use futures::StreamExt;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::raw::{Setting, say};

/// The contender's process: orders come as lines of JSON, and each is answered with a line.
pub(crate) fn serve() {
    snaphook_tests::run(async {
        let setting = Setting::told("handler");
        let profile = tempfile::tempdir().expect("a profile");
        let viewport = Viewport { width: setting.width as u32, height: setting.height as u32, ..Viewport::default() };
        let config = BrowserConfig::builder()
            .chrome_executable(&setting.chromium)
            .user_data_dir(profile.path())
            .window_size(viewport.width, viewport.height)
            .viewport(viewport)
            .args(setting.flags.iter().map(|flag| flag.trim_start_matches('-').to_owned()))
            .build()
            .expect("a configuration");
        let (browser, mut handler) = Browser::launch(config).await.expect("Chromium");
        let browser = Arc::new(browser);
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        say(&json!({ "ready": true }));
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let order: Json = serde_json::from_str(&line).expect("JSON");
            let browser = browser.clone();
            tokio::spawn(async move {
                let context = browser.create_browser_context(CreateBrowserContextParams::default()).await;
                let Ok(context) = context else { return say(&json!({ "id": order["id"], "error": "no context" })) };
                match take(&browser, &context, &order).await {
                    Ok(bytes) => say(&json!({ "id": order["id"], "bytes": bytes })),
                    Err(error) => say(&json!({ "id": order["id"], "error": error.to_string() })),
                }
                let _ = browser.dispose_browser_context(context).await;
            });
        }
        // It hangs on a port and not on a pipe, so it would stay.
        let _ = browser.execute(CloseParams::default()).await;
    });
}

/// Makes the file, and gives its size.
async fn take(browser: &Browser, context: &BrowserContextId, order: &Json) -> chromiumoxide::Result<usize> {
    let mut target = CreateTargetParams::new(order["url"].as_str().unwrap_or_default());
    target.browser_context_id = Some(context.clone());
    let page = browser.new_page(target).await?;
    page.wait_for_navigation().await?;
    let file = match order["kind"].as_str() {
        Some("pdf") => page.pdf(PrintToPdfParams { print_background: Some(true), ..Default::default() }).await?,
        kind => {
            let picture = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png);
            let mut picture = picture.full_page(kind == Some("full")).build();
            picture.cdp_params.optimize_for_speed = Some(true);
            page.screenshot(picture).await?
        }
    };
    Ok(file.len())
}

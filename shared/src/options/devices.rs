//! The devices that `viewport_device` names: screen, scale and user agent of each.
//!
//! The two vendors know the same ones, save eight newer iPhones and one spelling (`galaxy_s9+`, `galaxy_s9plus`). Sizes and
//! agents are the facts that browser tools have agreed on for years, whatever became of the devices since.

use super::model::Options;

/// A device in one of its orientations. All of them are mobile and have a touch screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Device {
    /// As it stands in a request.
    pub id: &'static str,
    pub name: &'static str,
    /// CSS pixels.
    pub width: u32,
    pub height: u32,
    pub scale: f64,
    pub landscape: bool,
    pub user_agent: &'static str,
    list: List,
}

/// Whose list a device is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Both,
    ScreenshotOne,
    ScreenshotMax,
}

impl Device {
    pub const fn mobile(&self) -> bool {
        true
    }

    pub const fn touch(&self) -> bool {
        true
    }

    /// Makes a page appear as on this device. What the request says of the viewport and the agent itself counts for more,
    /// so it must be applied after this.
    pub(super) fn apply(&self, options: &mut Options) {
        let viewport = &mut options.viewport;
        (viewport.width, viewport.height) = (self.width, self.height);
        viewport.device_scale_factor = self.scale;
        (viewport.mobile, viewport.touch, viewport.landscape) = (self.mobile(), self.touch(), self.landscape);
        options.network.user_agent = Some(self.user_agent.to_owned());
    }
}

/// The device of this id, on whichever list it is.
pub fn find(id: &str) -> Option<&'static Device> {
    DEVICES.iter().find(|device| device.id == id)
}

/// The devices of ScreenshotOne.
pub fn screenshotone() -> impl Iterator<Item = &'static Device> {
    DEVICES.iter().filter(|device| device.list != List::ScreenshotMax)
}

/// The devices of ScreenshotMAX.
pub fn screenshotmax() -> impl Iterator<Item = &'static Device> {
    DEVICES.iter().filter(|device| device.list != List::ScreenshotOne)
}

/// What ScreenshotOne's `viewport_device` may be.
pub(super) static SCREENSHOTONE_IDS: [&str; 115] = ids(List::ScreenshotMax);
/// What ScreenshotMAX's `viewport_device` may be.
pub(super) static SCREENSHOTMAX_IDS: [&str; 131] = ids(List::ScreenshotOne);

/// The ids that are not on this list alone.
#[expect(clippy::indexing_slicing, reason = "runs while compiling, where an index out of bounds is an error")]
const fn ids<const COUNT: usize>(without: List) -> [&'static str; COUNT] {
    let mut ids = [""; COUNT];
    let (mut from, mut to) = (0, 0);
    while from < DEVICES.len() {
        if DEVICES[from].list as u8 != without as u8 {
            ids[to] = DEVICES[from].id;
            to += 1;
        }
        from += 1;
    }
    // A count that is too large would leave empty ids; too small a one does not compile.
    assert!(to == COUNT);
    ids
}

/// A row each: id, name, portrait size, landscape size, scale, list, user agent. It makes two devices of it.
macro_rules! devices {
    ($($id:literal $name:literal $width:literal x $height:literal, $wide:literal x $low:literal @ $scale:literal $list:ident $agent:expr;)*) => {
        &[$(
            Device {
                id: $id, name: $name, width: $width, height: $height, scale: $scale, landscape: false,
                user_agent: $agent, list: List::$list,
            },
            Device {
                id: concat!($id, "_landscape"), name: concat!($name, " landscape"), width: $wide, height: $low,
                scale: $scale, landscape: true, user_agent: $agent, list: List::$list,
            },
        )* LUMIA_550]
    };
}

const IPAD: &str = "Mozilla/5.0 (iPad; CPU OS 11_0 like Mac OS X) AppleWebKit/604.1.34 (KHTML, like Gecko) Version/11.0 Mobile/15A5341f Safari/604.1";
const IPAD_GEN_6: &str = "Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Mobile/15E148 Safari/604.1";
const IPHONE_5: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 10_3_1 like Mac OS X) AppleWebKit/603.1.30 (KHTML, like Gecko) Version/10.0 Mobile/14E304 Safari/602.1";
const IPHONE_6: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 11_0 like Mac OS X) AppleWebKit/604.1.38 (KHTML, like Gecko) Version/11.0 Mobile/15A372 Safari/604.1";
const IPHONE_11: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 13_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1 Mobile/15E148 Safari/604.1";
const IPHONE_12: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 14_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Mobile/15E148 Safari/604.1";
const IPHONE_13: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 15_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Mobile/15E148 Safari/604.1";
const IPHONE_14: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1";
const IPHONE_15: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

/// The one that has no landscape on either list.
const LUMIA_550: Device = Device {
    id: "microsoft_lumia_550",
    name: "Microsoft Lumia 550",
    width: 640,
    height: 360,
    scale: 2.0,
    landscape: false,
    user_agent: "Mozilla/5.0 (Windows Phone 10.0; Android 4.2.1; Microsoft; Lumia 550) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/46.0.2486.0 Mobile Safari/537.36 Edge/14.14263",
    list: List::Both,
};

#[rustfmt::skip]
const DEVICES: &[Device] = devices! {
    "blackberry_playbook" "Blackberry PlayBook" 600 x 1024, 1024 x 600 @ 1.0 Both "Mozilla/5.0 (PlayBook; U; RIM Tablet OS 2.1.0; en-US) AppleWebKit/536.2+ (KHTML like Gecko) Version/7.2.1.0 Safari/536.2+";
    "blackberry_z30" "BlackBerry Z30" 360 x 640, 640 x 360 @ 2.0 Both "Mozilla/5.0 (BB10; Touch) AppleWebKit/537.10+ (KHTML, like Gecko) Version/10.0.9.2372 Mobile Safari/537.10+";
    "galaxy_note_3" "Galaxy Note 3" 360 x 640, 640 x 360 @ 3.0 Both "Mozilla/5.0 (Linux; U; Android 4.3; en-us; SM-N900T Build/JSS15J) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30";
    "galaxy_note_ii" "Galaxy Note II" 360 x 640, 640 x 360 @ 2.0 Both "Mozilla/5.0 (Linux; U; Android 4.1; en-us; GT-N7100 Build/JRO03C) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30";
    "galaxy_s_iii" "Galaxy S III" 360 x 640, 640 x 360 @ 2.0 Both "Mozilla/5.0 (Linux; U; Android 4.0; en-us; GT-I9300 Build/IMM76D) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30";
    "galaxy_s5" "Galaxy S5" 360 x 640, 640 x 360 @ 3.0 Both "Mozilla/5.0 (Linux; Android 5.0; SM-G900P Build/LRX21T) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "galaxy_s8" "Galaxy S8" 360 x 740, 740 x 360 @ 3.0 Both "Mozilla/5.0 (Linux; Android 7.0; SM-G950U Build/NRD90M) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/62.0.3202.84 Mobile Safari/537.36";
    "galaxy_s9+" "Galaxy S9+" 320 x 658, 658 x 320 @ 4.5 ScreenshotOne "Mozilla/5.0 (Linux; Android 8.0.0; SM-G965U Build/R16NW) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/63.0.3239.111 Mobile Safari/537.36";
    "galaxy_s9plus" "Galaxy S9+" 320 x 658, 658 x 320 @ 4.5 ScreenshotMax "Mozilla/5.0 (Linux; Android 8.0.0; SM-G965U Build/R16NW) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/63.0.3239.111 Mobile Safari/537.36";
    "galaxy_tab_s4" "Galaxy Tab S4" 712 x 1138, 1138 x 712 @ 2.25 Both "Mozilla/5.0 (Linux; Android 8.1.0; SM-T837A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.80 Safari/537.36";
    "ipad" "iPad" 768 x 1024, 1024 x 768 @ 2.0 Both IPAD;
    "ipad_gen_6" "iPad (gen 6)" 768 x 1024, 1024 x 768 @ 2.0 Both IPAD_GEN_6;
    "ipad_gen_7" "iPad (gen 7)" 810 x 1080, 1080 x 810 @ 2.0 Both IPAD_GEN_6;
    "ipad_mini" "iPad Mini" 768 x 1024, 1024 x 768 @ 2.0 Both IPAD;
    "ipad_pro" "iPad Pro" 1024 x 1366, 1366 x 1024 @ 2.0 Both IPAD;
    "ipad_pro_11" "iPad Pro 11" 834 x 1194, 1194 x 834 @ 2.0 Both IPAD_GEN_6;
    "iphone_4" "iPhone 4" 320 x 480, 480 x 320 @ 2.0 Both "Mozilla/5.0 (iPhone; CPU iPhone OS 7_1_2 like Mac OS X) AppleWebKit/537.51.2 (KHTML, like Gecko) Version/7.0 Mobile/11D257 Safari/9537.53";
    "iphone_5" "iPhone 5" 320 x 568, 568 x 320 @ 2.0 Both IPHONE_5;
    "iphone_6" "iPhone 6" 375 x 667, 667 x 375 @ 2.0 Both IPHONE_6;
    "iphone_6_plus" "iPhone 6 Plus" 414 x 736, 736 x 414 @ 3.0 Both IPHONE_6;
    "iphone_7" "iPhone 7" 375 x 667, 667 x 375 @ 2.0 Both IPHONE_6;
    "iphone_7_plus" "iPhone 7 Plus" 414 x 736, 736 x 414 @ 3.0 Both IPHONE_6;
    "iphone_8" "iPhone 8" 375 x 667, 667 x 375 @ 2.0 Both IPHONE_6;
    "iphone_8_plus" "iPhone 8 Plus" 414 x 736, 736 x 414 @ 3.0 Both IPHONE_6;
    "iphone_se" "iPhone SE" 320 x 568, 568 x 320 @ 2.0 Both IPHONE_5;
    "iphone_x" "iPhone X" 375 x 812, 812 x 375 @ 3.0 Both IPHONE_6;
    "iphone_xr" "iPhone XR" 414 x 896, 896 x 414 @ 3.0 Both "Mozilla/5.0 (iPhone; CPU iPhone OS 12_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Mobile/15E148 Safari/604.1";
    "iphone_11" "iPhone 11" 414 x 828, 828 x 414 @ 2.0 Both IPHONE_11;
    "iphone_11_pro" "iPhone 11 Pro" 375 x 812, 812 x 375 @ 3.0 Both IPHONE_11;
    "iphone_11_pro_max" "iPhone 11 Pro Max" 414 x 896, 896 x 414 @ 3.0 Both IPHONE_11;
    "iphone_12" "iPhone 12" 390 x 844, 844 x 390 @ 3.0 Both IPHONE_12;
    "iphone_12_pro" "iPhone 12 Pro" 390 x 844, 844 x 390 @ 3.0 Both IPHONE_12;
    "iphone_12_pro_max" "iPhone 12 Pro Max" 428 x 926, 926 x 428 @ 3.0 Both IPHONE_12;
    "iphone_12_mini" "iPhone 12 Mini" 375 x 812, 812 x 375 @ 3.0 Both IPHONE_12;
    "iphone_13" "iPhone 13" 390 x 844, 844 x 390 @ 3.0 Both IPHONE_13;
    "iphone_13_pro" "iPhone 13 Pro" 390 x 844, 844 x 390 @ 3.0 Both IPHONE_13;
    "iphone_13_pro_max" "iPhone 13 Pro Max" 428 x 926, 926 x 428 @ 3.0 Both IPHONE_13;
    "iphone_13_mini" "iPhone 13 Mini" 375 x 812, 812 x 375 @ 3.0 Both IPHONE_13;
    "jiophone_2" "JioPhone 2" 240 x 320, 320 x 240 @ 1.0 Both "Mozilla/5.0 (Mobile; LYF/F300B/LYF-F300B-001-01-15-130718-i;Android; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5";
    "kindle_fire_hdx" "Kindle Fire HDX" 800 x 1280, 1280 x 800 @ 2.0 Both "Mozilla/5.0 (Linux; U; en-us; KFAPWI Build/JDQ39) AppleWebKit/535.19 (KHTML, like Gecko) Silk/3.13 Safari/535.19 Silk-Accelerated=true";
    "lg_optimus_l70" "LG Optimus L70" 384 x 640, 640 x 384 @ 1.25 Both "Mozilla/5.0 (Linux; U; Android 4.4.2; en-us; LGMS323 Build/KOT49I.MS32310c) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/75.0.3765.0 Mobile Safari/537.36";
    "microsoft_lumia_950" "Microsoft Lumia 950" 360 x 640, 640 x 360 @ 4.0 Both "Mozilla/5.0 (Windows Phone 10.0; Android 4.2.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/46.0.2486.0 Mobile Safari/537.36 Edge/14.14263";
    "nexus_10" "Nexus 10" 800 x 1280, 1280 x 800 @ 2.0 Both "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 10 Build/MOB31T) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Safari/537.36";
    "nexus_4" "Nexus 4" 384 x 640, 640 x 384 @ 2.0 Both "Mozilla/5.0 (Linux; Android 4.4.2; Nexus 4 Build/KOT49H) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "nexus_5" "Nexus 5" 360 x 640, 640 x 360 @ 3.0 Both "Mozilla/5.0 (Linux; Android 6.0; Nexus 5 Build/MRA58N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "nexus_5x" "Nexus 5X" 412 x 732, 732 x 412 @ 2.625 Both "Mozilla/5.0 (Linux; Android 8.0.0; Nexus 5X Build/OPR4.170623.006) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "nexus_6" "Nexus 6" 412 x 732, 732 x 412 @ 3.5 Both "Mozilla/5.0 (Linux; Android 7.1.1; Nexus 6 Build/N6F26U) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "nexus_6p" "Nexus 6P" 412 x 732, 732 x 412 @ 3.5 Both "Mozilla/5.0 (Linux; Android 8.0.0; Nexus 6P Build/OPP3.170518.006) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "nexus_7" "Nexus 7" 600 x 960, 960 x 600 @ 2.0 Both "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 7 Build/MOB30X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Safari/537.36";
    "nokia_lumia_520" "Nokia Lumia 520" 320 x 533, 533 x 320 @ 1.5 Both "Mozilla/5.0 (compatible; MSIE 10.0; Windows Phone 8.0; Trident/6.0; IEMobile/10.0; ARM; Touch; NOKIA; Lumia 520)";
    "nokia_n9" "Nokia N9" 480 x 854, 854 x 480 @ 1.0 Both "Mozilla/5.0 (MeeGo; NokiaN9) AppleWebKit/534.13 (KHTML, like Gecko) NokiaBrowser/8.5.0 Mobile Safari/534.13";
    "pixel_2" "Pixel 2" 411 x 731, 731 x 411 @ 2.625 Both "Mozilla/5.0 (Linux; Android 8.0; Pixel 2 Build/OPD3.170816.012) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "pixel_2_xl" "Pixel 2 XL" 411 x 823, 823 x 411 @ 3.5 Both "Mozilla/5.0 (Linux; Android 8.0.0; Pixel 2 XL Build/OPD1.170816.004) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/75.0.3765.0 Mobile Safari/537.36";
    "pixel_3" "Pixel 3" 393 x 786, 786 x 393 @ 2.75 Both "Mozilla/5.0 (Linux; Android 9; Pixel 3 Build/PQ1A.181105.017.A1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/66.0.3359.158 Mobile Safari/537.36";
    "pixel_4" "Pixel 4" 353 x 745, 745 x 353 @ 3.0 Both "Mozilla/5.0 (Linux; Android 10; Pixel 4) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/81.0.4044.138 Mobile Safari/537.36";
    "pixel_4a_5g" "Pixel 4a (5G)" 353 x 745, 745 x 353 @ 3.0 Both "Mozilla/5.0 (Linux; Android 11; Pixel 4a (5G)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4812.0 Mobile Safari/537.36";
    "pixel_5" "Pixel 5" 393 x 851, 851 x 393 @ 3.0 Both "Mozilla/5.0 (Linux; Android 11; Pixel 5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4812.0 Mobile Safari/537.36";
    "moto_g4" "Moto G4" 360 x 640, 640 x 360 @ 3.0 Both "Mozilla/5.0 (Linux; Android 7.0; Moto G (4)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4812.0 Mobile Safari/537.36";
    "iphone_14" "iPhone 14" 390 x 663, 750 x 340 @ 3.0 ScreenshotMax IPHONE_14;
    "iphone_14_plus" "iPhone 14 Plus" 428 x 745, 832 x 378 @ 3.0 ScreenshotMax IPHONE_14;
    "iphone_14_pro" "iPhone 14 Pro" 393 x 659, 734 x 343 @ 3.0 ScreenshotMax IPHONE_14;
    "iphone_14_pro_max" "iPhone 14 Pro Max" 430 x 739, 814 x 380 @ 3.0 ScreenshotMax IPHONE_14;
    "iphone_15" "iPhone 15" 393 x 659, 734 x 343 @ 3.0 ScreenshotMax IPHONE_15;
    "iphone_15_plus" "iPhone 15 Plus" 430 x 739, 814 x 380 @ 3.0 ScreenshotMax IPHONE_15;
    "iphone_15_pro" "iPhone 15 Pro" 393 x 659, 734 x 343 @ 3.0 ScreenshotMax IPHONE_15;
    "iphone_15_pro_max" "iPhone 15 Pro Max" 430 x 739, 814 x 380 @ 3.0 ScreenshotMax IPHONE_15;
};

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::options::fields::Fields;
    use crate::request::Endpoint;
    use crate::target::NativeUrlParser;

    fn read(endpoint: Endpoint, query: &str) -> Options {
        let fields = Fields::from_query(&format!("url=https://example.com&{query}"));
        let (options, problems) = crate::options::read(endpoint, &fields, &NativeUrlParser);
        assert_eq!(problems, [], "{query}");
        options
    }

    #[test]
    fn both_lists_are_whole_and_name_each_device_once() {
        assert_eq!((screenshotone().count(), screenshotmax().count()), (115, 131));
        for device in DEVICES {
            assert_eq!(find(device.id), Some(device), "{} is there twice", device.id);
            let id = device.name.to_lowercase().replace(' ', "_").replace(['(', ')'], "");
            assert!(device.id == id || device.id.starts_with("galaxy_s9plus"), "{} is no {}", device.id, device.name);
        }
    }

    #[test]
    fn what_is_said_counts_for_more_than_the_device_in_any_order() {
        for query in
            ["viewport_device=iphone_13_pro&viewport_width=500", "viewport_width=500&viewport_device=iphone_13_pro"]
        {
            let viewport = read(Endpoint::Take, query).viewport;
            assert_eq!((viewport.width, viewport.height, viewport.device_scale_factor), (500, 844, 3.0), "{query}");
            assert!(viewport.mobile && viewport.touch && !viewport.landscape);
        }
        let agent = read(Endpoint::Screenshot, "user_agent=me&viewport_device=galaxy_s9plus_landscape");
        assert_eq!(agent.network.user_agent.as_deref(), Some("me"));
        assert_eq!((agent.viewport.width, agent.viewport.height), (658, 320));
    }
}

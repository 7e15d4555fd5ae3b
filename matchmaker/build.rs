//! Takes the two files of Swagger UI that the page of the API needs out of the archive in which its crate ships them.

use std::error::Error;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::PathBuf;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Everything else in the archive (4 MB) is for other ways to embed it.
const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for file in FILES {
        // The folder above is named after the version, and flavours have a `dist` of their own.
        let names = archive.file_names().filter_map(Result::ok);
        let name = names
            .into_iter()
            .find(|name| name.split('/').skip(1).eq(["dist", file]))
            .ok_or_else(|| format!("the archive of Swagger UI has no dist/{file}"))?
            .into_owned();
        io::copy(
            &mut archive.by_name(&name)?,
            &mut File::create(folder.join(file))?,
        )?;
    }
    Ok(())
}

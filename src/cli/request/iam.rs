//! What `iam render` was asked for.

use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params};

use super::Surroundings;
use crate::cli::args::{IamRenderArgs, ModeArg};
use crate::cli::error::CommandError;
use crate::cli::place::parse_place;

/// What `iam render` was asked for.
#[derive(Debug)]
pub(crate) struct IamRenderRequest {
    /// What to print.
    pub(crate) document: Document,
    /// For whose IAM.
    pub(crate) flavor: Flavor,
    /// The lock's mode and lengths where they were told; the vault is then not asked.
    pub(crate) told: Option<Told>,
    args: Box<IamRenderArgs>,
    sources: Vec<Location>,
    storage_classes: Vec<String>,
}

/// What a vault would say of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    mode: Option<LockMode>,
    shortest: Option<u32>,
    longest: Option<u32>,
    generation: Option<u32>,
}

impl IamRenderRequest {
    pub(super) fn new(
        args: Box<IamRenderArgs>,
        around: Surroundings<'_>,
    ) -> Result<Self, CommandError> {
        let config = around.config;
        let sources: Vec<String> = if args.source.is_empty() {
            let uris = config.tables.iter().map(|table| table.uri.clone());
            uris.filter(|uri| uri.starts_with("s3://")).collect()
        } else {
            let places = args.source.iter();
            let places = places.map(|uri| parse_place(uri, around.folder));
            places.collect::<Result<_, _>>()?
        };
        let mut storage_classes = args.storage_class.clone();
        if storage_classes.is_empty() {
            storage_classes.push("STANDARD".to_owned());
            storage_classes.extend(config.s3.vault.storage_class.clone());
        }
        let told = Told {
            mode: args.mode.map(|mode| match mode {
                ModeArg::Governance => LockMode::Governance,
                ModeArg::Compliance => LockMode::Compliance,
            }),
            shortest: args.shortest,
            longest: args.longest,
            generation: args.generation,
        };
        Ok(Self {
            document: match (args.role, args.document) {
                (Some(role), _) => Document::Role(role),
                (None, Some(document)) => document.into(),
                // clap asks for one of the two.
                (None, None) => Document::BucketPolicy,
            },
            flavor: args.flavor.into(),
            told: told.is_something().then_some(told),
            sources: sources
                .iter()
                .map(|uri| Location::parse(uri))
                .collect::<Result<_, _>>()?,
            storage_classes,
            args,
        })
    }

    /// What the document is filled with, for a vault that was not asked.
    ///
    /// # Errors
    /// [`CommandError::Iam`] for a vault that is not on S3, or that no policy can name.
    pub(crate) fn params(&self, vault: &str) -> Result<Params, CommandError> {
        let args = &self.args;
        let mut params = Params {
            partition: args.partition.clone(),
            sources: self.sources.clone(),
            storage_classes: self.storage_classes.clone(),
            kms_key: args.kms_key.clone(),
            source_kms_keys: args.source_kms_key.clone(),
            account: args.account.clone(),
            role_prefix: args.role_prefix.clone(),
            break_glass: args.break_glass.clone(),
            trusted: args.trust.clone(),
            external_id: args.external_id.clone(),
            plain_http: args.plain_http,
            ..Params::new(Location::parse(vault)?)
        };
        if let Some(told) = self.told {
            params.lock_mode = told.mode.unwrap_or(params.lock_mode);
            params.set_days(
                told.shortest.unwrap_or(Params::SHORTEST_DAYS),
                told.longest.unwrap_or(Params::LONGEST_DAYS),
                told.generation.unwrap_or(Params::GENERATION_DAYS),
            );
        }
        Ok(params)
    }
}

impl Told {
    fn is_something(self) -> bool {
        let lengths = [self.shortest, self.longest, self.generation];
        self.mode.is_some() || lengths.iter().any(Option::is_some)
    }
}

//! The keywords of plays, blocks, tasks and roles: where each is allowed, and which values it takes.

/// A part of a playbook in which keywords are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Play,
    Block,
    Task,
    Handler,
    /// A role in the list of roles of a play, or a dependency of a role.
    Role,
    /// An entry that imports a playbook.
    ImportPlaybook,
}

impl Section {
    /// Returns the name of the section in messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Play => "a play",
            Self::Block => "a block",
            Self::Task => "a task",
            Self::Handler => "a handler",
            Self::Role => "a role",
            Self::ImportPlaybook => "`import_playbook`",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The values that a keyword takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A truth value, or a template of one.
    Flag,
    /// A whole number, or a template of one.
    Whole,
    /// A number, or a template of one.
    Number,
    /// Text, which may be a template.
    Text,
    /// The name of a variable.
    Name,
    /// A comma-separated text of names, or a list of texts.
    Words,
    /// An expression without braces, a truth value, or a list of these.
    Conditions,
    /// A map.
    Map,
    /// A map or a list of maps, or a template of one.
    Maps,
    /// Anything.
    Any,
}

macro_rules! keywords {
    ($($variant:ident $word:literal $kind:ident [$($section:ident)+];)*) => {
        /// A keyword that has a value of its own, and no tasks below it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Keyword { $($variant),* }

        impl Keyword {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the keyword as it is written.
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Returns which values the keyword takes.
            pub(crate) fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),* }
            }

            fn sections(self) -> u8 {
                match self { $(Self::$variant => 0 $(| sections::$section)+),* }
            }
        }
    };
}

mod sections {
    use super::Section;

    pub(super) const PLAY: u8 = Section::Play.bit();
    pub(super) const TASK: u8 = Section::Task.bit() | Section::Handler.bit();
    pub(super) const HANDLER: u8 = Section::Handler.bit();
    /// All sections that are a task or contain tasks.
    pub(super) const ALL: u8 = PLAY | BELOW;
    /// All of these except plays.
    pub(super) const BELOW: u8 = TASK | Section::Block.bit() | Section::Role.bit();
    pub(super) const IMPORT: u8 = Section::ImportPlaybook.bit();
}

keywords! {
    Name "name" Text [ALL IMPORT];
    When "when" Conditions [BELOW IMPORT];
    Tags "tags" Words [ALL IMPORT];
    Vars "vars" Map [ALL IMPORT];
    Environment "environment" Maps [ALL];
    Become "become" Flag [ALL];
    BecomeUser "become_user" Text [ALL];
    BecomeMethod "become_method" Text [ALL];
    BecomeFlags "become_flags" Text [ALL];
    BecomeExe "become_exe" Text [ALL];
    Connection "connection" Text [ALL];
    Port "port" Whole [ALL];
    RemoteUser "remote_user" Text [ALL];
    Timeout "timeout" Whole [ALL];
    NoLog "no_log" Flag [ALL];
    RunOnce "run_once" Flag [ALL];
    IgnoreErrors "ignore_errors" Flag [ALL];
    IgnoreUnreachable "ignore_unreachable" Flag [ALL];
    AnyErrorsFatal "any_errors_fatal" Flag [ALL];
    CheckMode "check_mode" Flag [ALL];
    Diff "diff" Flag [ALL];
    Throttle "throttle" Whole [ALL];
    Hint "hint" Any [ALL];
    Limits "limits" Words [ALL];
    Debugger "debugger" Text [ALL];
    ModuleDefaults "module_defaults" Maps [ALL];
    Collections "collections" Words [ALL];
    DelegateTo "delegate_to" Text [BELOW];
    DelegateFacts "delegate_facts" Flag [BELOW];
    Notify "notify" Words [BELOW];
    Listen "listen" Words [HANDLER];
    Args "args" Map [TASK];
    Loop "loop" Any [TASK];
    LoopControl "loop_control" Map [TASK];
    Register "register" Name [TASK];
    Until "until" Conditions [TASK];
    Retries "retries" Whole [TASK];
    Delay "delay" Number [TASK];
    ChangedWhen "changed_when" Conditions [TASK];
    FailedWhen "failed_when" Conditions [TASK];
    Async "async" Whole [TASK];
    Poll "poll" Whole [TASK];
    GatherFacts "gather_facts" Flag [PLAY];
    GatherSubset "gather_subset" Words [PLAY];
    GatherTimeout "gather_timeout" Whole [PLAY];
    FactPath "fact_path" Text [PLAY];
    VarsFiles "vars_files" Any [PLAY];
    VarsPrompt "vars_prompt" Maps [PLAY];
    ForceHandlers "force_handlers" Flag [PLAY];
    MaxFailPercentage "max_fail_percentage" Number [PLAY];
    Serial "serial" Any [PLAY];
    Strategy "strategy" Text [PLAY];
    Order "order" Text [PLAY];
}

impl Keyword {
    /// Finds the keyword of this name, if it is allowed in a section.
    pub(crate) fn find(word: &str, section: Section) -> Option<Self> {
        let found = Self::ALL.iter().find(|keyword| keyword.word() == word)?;
        (found.sections() & section.bit() != 0).then_some(*found)
    }

    /// Returns the keywords that are allowed in a section.
    pub(crate) fn of(section: Section) -> impl Iterator<Item = &'static str> + Clone {
        let all = Self::ALL.iter();
        all.filter(move |keyword| keyword.sections() & section.bit() != 0)
            .map(|keyword| keyword.word())
    }
}

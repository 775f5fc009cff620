//! Tests of hosts that are reached with a program that behaves like ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{CallError, Target};
use super::{Bench, call, context};

/// A program that takes the arguments of ssh, and runs the command on this machine like a login. If it has a password,
/// it asks for it like ssh.
const SSH: &str = r#"#!/bin/sh
echo "$*" >>'FOLDER/arguments'
for last; do :; done
[ -e 'FOLDER/away' ] && { echo "ssh: connect to host web1 port 22: No route to host" >&2; exit 255; }
if [ -n 'PASSWORD' ]; then
    [ "$SSH_ASKPASS_REQUIRE" = force ] || exit 255
    "$SSH_ASKPASS" "Are you sure you want to continue connecting (yes/no/[fingerprint])? " && exit 255
    [ "$("$SSH_ASKPASS" "deploy@web1's password: ")" = 'PASSWORD' ] || { echo "Permission denied (password)." >&2; exit 255; }
fi
echo 'Last login: today'
cd 'FOLDER/home' && HOME='FOLDER/home' && export HOME
exec sh -c "$last"
"#;

impl Bench {
    /// Returns a host behind such a program, with more variables.
    fn host(&self, password: &str, variables: Value) -> Arc<Target> {
        let folder = self.folder.path().display().to_string();
        let ssh = self.file(
            "ssh",
            &SSH.replace("FOLDER", &folder).replace("PASSWORD", password),
        );
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        let mut all = json!({ "ansible_ssh_executable": ssh, "ansible_user": "deploy" });
        all.as_object_mut()
            .unwrap()
            .extend(super::object(variables));
        Arc::new(Target::of("web1", |name| all.get(name).cloned()).unwrap())
    }
}

#[tokio::test]
async fn a_module_runs_on_a_host_by_the_python_that_is_found_there() {
    let bench = Bench::new();
    let host = bench.host(
        "",
        json!({ "ansible_port": 2222, "ansible_ssh_common_args": "-o 'ProxyCommand=a b'" }),
    );
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
    let arguments = fs::read_to_string(bench.at("arguments")).unwrap();
    let expected = "-o ProxyCommand=a b -T -p 2222 -l deploy -o ConnectTimeout=10 -o ServerAliveInterval=15 \
                    -o ServerAliveCountMax=3 -o BatchMode=yes -- web1 exec /bin/sh -c ";
    assert!(arguments.starts_with(expected), "{arguments:.300}");
    let result = bench
        .targets
        .raw(&host, None, "echo \"it's $HOME\"", None, &context())
        .await
        .unwrap();
    let home = bench.at("home").display().to_string();
    assert_eq!(
        result["stdout"],
        format!("Last login: today\nit's {home}\n")
    );
}

#[tokio::test]
async fn a_host_that_is_away_is_unreachable_and_is_tried_again_by_the_next_call() {
    let bench = Bench::new();
    let host = bench.host("", json!({}));
    bench.file("away", "");
    let module = bench.modules.find("ping", &[], &[]).unwrap();
    for _ in 0..2 {
        let away = bench.call(&host, &call(&module, json!({}))).await;
        let Err(CallError::Unreachable(reason)) = away else {
            panic!("{away:?}");
        };
        assert_eq!(
            reason,
            "host `web1` is not reached: ssh: connect to host web1 port 22: No route to host"
        );
    }
    let raw = bench
        .targets
        .raw(&host, None, "true", None, &context())
        .await;
    assert!(matches!(raw, Err(CallError::Unreachable(_))), "{raw:?}");
    fs::remove_file(bench.at("away")).unwrap();
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
}

#[tokio::test]
async fn a_host_that_is_lost_during_a_module_is_unreachable() {
    let bench = Bench::new();
    let host = bench.host("", json!({}));
    let loser = bench.program("lose", "os.kill(os.getppid(), 9)\ntime.sleep(1000)");
    let lost = bench.call(&host, &call(&loser, json!({}))).await;
    assert!(matches!(lost, Err(CallError::Unreachable(_))), "{lost:?}");
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
}

#[tokio::test]
async fn a_password_reaches_ssh_each_time_that_it_connects() {
    let bench = Bench::new();
    let host = bench.host("geheim", json!({ "ansible_password": "geheim" }));
    for _ in 0..3 {
        assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
        bench.targets.reset(&host).await;
    }
    // If the worker is lost, its pool starts it again.
    let loser = bench.program("lose", "os.kill(os.getppid(), 9)\ntime.sleep(1000)");
    bench
        .call(&host, &call(&loser, json!({})))
        .await
        .unwrap_err();
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
    let result = bench
        .targets
        .raw(&host, None, "echo x", None, &context())
        .await
        .unwrap();
    assert_eq!(result["rc"], 0);
    let arguments = fs::read_to_string(bench.at("arguments")).unwrap();
    assert!(
        arguments.contains("-o BatchMode=no -o NumberOfPasswordPrompts=1")
            && !arguments.contains("geheim")
    );
    let wrong = bench.host("geheim", json!({ "ansible_password": "falsch" }));
    let module = bench.modules.find("ping", &[], &[]).unwrap();
    let refused = bench
        .call(&wrong, &call(&module, json!({})))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("Permission denied (password)."),
        "{refused}"
    );
}

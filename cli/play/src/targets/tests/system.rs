//! Tests with a real ssh server and a real sudo, where this machine has them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{CallError, FileSource, Target};
use super::{Bench, call, context, eventually, is_alive};
use crate::modules::{Become, ModuleCall};

const SSHD: &str = "/usr/sbin/sshd";

/// Whether this user is root and has all of these programs. Otherwise prints what is not tested.
fn can_use(programs: &[&str], what: &str) -> bool {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout == b"0\n");
    let has_all = programs.iter().all(|program| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        found.is_ok_and(|found| found.status.success())
    });
    if !(is_root && has_all) {
        eprintln!(
            "SKIPPED: {what} is not tried, because this user is not root or one of {programs:?} is missing"
        );
    }
    is_root && has_all
}

/// An ssh server, which is stopped when this is dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts a server that accepts the key in `user_key`, or this password of root, which works only for this server.
    async fn start(bench: &Bench, password: &str) -> Self {
        let at = |name: &str| bench.at(name).display().to_string();
        for key in ["host_key", "user_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
                .status();
            assert!(made.unwrap().success());
        }
        let hashed = Command::new("openssl")
            .args(["passwd", "-6", password])
            .output()
            .unwrap();
        let shadow = fs::read_to_string("/etc/shadow").unwrap();
        let others = shadow.lines().filter(|line| !line.starts_with("root:"));
        let hash = String::from_utf8(hashed.stdout).unwrap();
        let lines: Vec<String> = others
            .map(str::to_owned)
            .chain([format!("root:{}:19000:0:99999:7:::", hash.trim())])
            .collect();
        let shadow = bench.file("shadow", &(lines.join("\n") + "\n"));
        // The port is free now, and it is unlikely that another process takes it within a moment.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nPasswordAuthentication yes\nMaxStartups 100\n",
            at("host_key"),
            at("user_key.pub"),
        );
        let config = bench.file("sshd_config", &config);
        // The folder that the server needs for privilege separation. It may already exist.
        let _ = fs::create_dir("/run/sshd");
        let run = format!(
            "mount --bind {} /etc/shadow && exec {SSHD} -D -e -f {}",
            shadow.display(),
            config.display()
        );
        let log = fs::File::create(bench.at("log")).unwrap();
        let process = Command::new("unshare")
            .args(["-m", "sh", "-c", &run])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { process, port };
        eventually("the server listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        server
    }

    /// Returns the server as a host, with more variables.
    fn host(&self, bench: &Bench, more: Value) -> Arc<Target> {
        let python = format!("env HOME={} /usr/bin/python3", bench.at("home").display());
        let mut all = json!({
            "ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": "root",
            "ansible_ssh_common_args": "-F none -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentityAgent=none",
            "ansible_host_key_checking": "False", "ansible_python_interpreter": python,
        });
        all.as_object_mut().unwrap().extend(super::object(more));
        Arc::new(Target::of("web1", |name| all.get(name).cloned()).unwrap())
    }

    /// Ends all connections, as if the cable was cut and the server noticed.
    fn cut(&self) {
        let killed = Command::new("pkill")
            .args(["-KILL", "-P", &self.process.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn modules_run_on_a_real_host_and_end_with_its_connection() {
    if !can_use(
        &[SSHD, "unshare", "openssl", "pkill", "/usr/bin/python3"],
        "a real server for ssh",
    ) {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench, "geheim").await;
    let host = server.host(
        &bench,
        json!({ "ansible_ssh_private_key_file": bench.at("user_key") }),
    );
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
    let raw = bench
        .targets
        .raw(
            &host,
            None,
            "echo $SSH_CONNECTION; exit 3",
            None,
            &context(),
        )
        .await
        .unwrap();
    assert_eq!((&raw["rc"], &raw["failed"]), (&json!(3), &json!(true)));
    let bytes = vec![7; (3 << 20) + 1];
    let sent = bench
        .targets
        .send_file(
            &host,
            None,
            ("big", &FileSource::Bytes(bytes.clone())),
            &context(),
        )
        .await
        .unwrap();
    assert!(fs::read(&sent).unwrap() == bytes);

    let hang = bench.program(
        "hang",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         open(arguments['own'], 'w').write(str(os.getpid()))\ntime.sleep(1000)",
    );
    let own = bench.at("own");
    let hanging = call(&hang, json!({ "own": own }));
    let calling = {
        let (targets, host) = (Arc::clone(&bench.targets), Arc::clone(&host));
        tokio::spawn(async move { targets.call(&host, &hanging, &context()).await })
    };
    eventually("the module runs", || is_alive(&own)).await;
    server.cut();
    let lost = tokio::time::timeout(Duration::from_mins(1), calling)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(lost, Err(CallError::Unreachable(_))), "{lost:?}");
    eventually("the module is gone", || !is_alive(&own)).await;
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
    bench.targets.shutdown().await;

    let away = server.host(&bench, json!({ "ansible_port": 1 }));
    let module = bench.modules.find("ping", &[], &[]).unwrap();
    let refused = bench
        .call(&away, &call(&module, json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("Connection refused"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_real_ssh_takes_the_password_that_it_is_given() {
    if !can_use(
        &[SSHD, "unshare", "openssl", "/usr/bin/python3"],
        "a password for a real server for ssh",
    ) {
        return;
    }
    let bench = Bench::new();
    let server = Server::start(&bench, "it's geheim").await;
    let host = server.host(&bench, json!({ "ansible_password": "it's geheim" }));
    assert_eq!(bench.run(&host, "ping", json!({})).await["ping"], "pong");
    let raw = bench
        .targets
        .raw(&host, None, "echo x", None, &context())
        .await
        .unwrap();
    assert_eq!(raw["stdout"], "x\n");
    let wrong = server.host(&bench, json!({ "ansible_password": "falsch" }));
    let module = bench.modules.find("ping", &[], &[]).unwrap();
    let refused = bench
        .call(&wrong, &call(&module, json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("Permission denied"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_real_sudo_runs_modules_as_another_user() {
    if !can_use(&["sudo", "/usr/bin/python3"], "a real sudo") {
        return;
    }
    let bench = Bench::new();
    let variables =
        json!({ "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3" });
    let target = Arc::new(Target::of("here", |name| variables.get(name).cloned()).unwrap());
    let show = bench.program(
        "show",
        "import getpass\nprint(json.dumps({'user': getpass.getuser(), 'uid': os.geteuid()}))",
    );
    let nobody = Become::new("nobody");
    let shown = ModuleCall {
        privilege: Some(nobody.clone()),
        ..call(&show, json!({}))
    };
    let result = bench.call(&target, &shown).await.unwrap();
    assert_eq!(result["user"], "nobody", "{result:?}");
    let sent = bench
        .targets
        .send_file(
            &target,
            Some(&nobody),
            ("small", &FileSource::Bytes(vec![1])),
            &context(),
        )
        .await
        .unwrap();
    let raw = bench
        .targets
        .raw(
            &target,
            Some(&nobody),
            &format!("whoami; cat {sent} | wc -c"),
            None,
            &context(),
        )
        .await;
    assert_eq!(raw.unwrap()["stdout_lines"], json!(["nobody", "1"]));
    let unknown = ModuleCall {
        privilege: Some(Become::new("no-such-user")),
        ..call(&show, json!({}))
    };
    let result = bench.call(&target, &unknown).await.unwrap();
    assert!(
        result["msg"].as_str().unwrap().contains("unknown user"),
        "{result:?}"
    );
    bench.targets.shutdown().await;
    assert!(!fs::exists(sent).unwrap());
}

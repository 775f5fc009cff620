//! Calls a tool of an MCP server.
//!
//! `cargo run -p ratchet-ipc --example tools_of_a_server -- npx -y @modelcontextprotocol/server-everything stdio`
//!
//! Without arguments it starts a server of its own, in Python.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroU32;
use std::process::Stdio;

use ratchet_ipc::Mcp;
use ratchet_ipc::host::WorkerClient;
use tokio::process::Command;

/// A minimal MCP server with one tool, which returns its message.
const SERVER: &str = r#"
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    result = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "own", "version": "1"}},
        "tools/list": {"tools": [{"name": "echo", "inputSchema": {"properties": {"message": {"type": "string"}}}}]},
        "tools/call": {"content": [{"type": "text", "text": m.get("params", {}).get("arguments", {}).get("message")}]},
        "ping": {},
    }.get(m["method"])
    if "id" in m:
        print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": result}), flush=True)
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let own = ["python3".to_owned(), "-c".to_owned(), SERVER.to_owned()];
    let words = if typed.is_empty() {
        own.to_vec()
    } else {
        typed
    };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stderr(Stdio::null());
    let server = WorkerClient::start_with(command, Mcp::new(NonZeroU32::MIN))?;
    // A tool with one argument also takes that argument directly, without an object around it.
    let result: serde_json::Value = server.call("echo", &"hello").await?;
    println!("{}", result["content"][0]["text"]);
    server.close().await?;
    Ok(())
}

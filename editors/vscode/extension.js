// Starts `mha-lint server` and hands it what the editor knows. All else is done by the server.
"use strict";

const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

function settings() {
  const given = vscode.workspace.getConfiguration("mha-lint");
  return {
    unsafeFixes: given.get("unsafeFixes"),
    inlayHints: given.get("inlayHints"),
    validate: vscode.workspace.isTrusted ? given.get("validate") : "never",
  };
}

function command() {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
  const path = vscode.workspace.getConfiguration("mha-lint").get("path");
  return path.replace("${workspaceFolder}", folder);
}

async function start() {
  const server = { command: command(), args: ["server"], transport: TransportKind.stdio };
  client = new LanguageClient("mha-lint", "mha-lint", server, {
    documentSelector: [
      { scheme: "file", language: "python" },
      { scheme: "untitled", language: "python" },
      { notebook: "*", language: "python" },
    ],
    initializationOptions: settings(),
  });
  try {
    await client.start();
  } catch (error) {
    vscode.window.showErrorMessage(
      `mha-lint: ${command()} server does not start (${error.message}). ` +
        'Install it by pip install "mha-lint[lsp]", or set mha-lint.path.',
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running?.isRunning()) await running.stop();
}

function execute(name) {
  const document = vscode.window.activeTextEditor?.document;
  if (!client?.isRunning() || document?.languageId !== "python") return undefined;
  return client.sendRequest("workspace/executeCommand", {
    command: name,
    arguments: [client.code2ProtocolConverter.asUri(document.uri)],
  });
}

async function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("mha-lint.validateFile", () => execute("mha-lint.validate")),
    vscode.commands.registerCommand("mha-lint.fixFile", () => execute("mha-lint.fixAll")),
    vscode.commands.registerCommand("mha-lint.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (!event.affectsConfiguration("mha-lint")) return;
      if (event.affectsConfiguration("mha-lint.path")) {
        await stop();
        await start();
      } else {
        client?.sendNotification("workspace/didChangeConfiguration", { settings: { "mha-lint": settings() } });
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() =>
      client?.sendNotification("workspace/didChangeConfiguration", { settings: { "mha-lint": settings() } }),
    ),
  );
  await start();
}

module.exports = { activate, deactivate: stop };

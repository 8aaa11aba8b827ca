// Reads {tables: {name: schema}, queries: {name: text}} and writes what Microsoft's parser has against each query.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
require("@kusto/language-service-next/bridge.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.js");

const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language;
const { tables, queries } = JSON.parse(readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
const workspace = new Symbols.DatabaseSymbol.ctor("workspace", symbols);
const state = GlobalState.Default.WithDatabase(workspace);

const found = {};
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, state);
  found[name] = [...globalThis.Bridge.toArray(code.GetDiagnostics())].map(
    (each) => `${each.Severity}: ${each.Message} (${text.slice(each.Start, each.Start + each.Length)})`,
  );
}
console.log(JSON.stringify(found));

/**
 * The pages' style: light and dark, no outside asset. Service colours are the classes c0 to c7, indents d0 to d20; the content
 * security policy forbids style attributes.
 */
export const STYLE = `
:root{--bg:#f6f7f9;--card:#fff;--text:#1c2430;--dim:#667085;--line:#e3e7ee;--accent:#2757c4;--bad:#c0262d;--badbg:#fdecec;--chip:#eef1f6;
--c0:#3b7ddd;--c1:#0f9d8a;--c2:#b9770e;--c3:#8e55c9;--c4:#d0527b;--c5:#5b8c2a;--c6:#c2572b;--c7:#4a6fa5}
@media (prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1a2029;--text:#dfe5ee;--dim:#8f9bad;--line:#2b3441;--accent:#7fa8ff;--bad:#ff8080;--badbg:#3a1f24;--chip:#252d39;
--c0:#6aa3f5;--c1:#3ac7b3;--c2:#e0a94a;--c3:#b98aec;--c4:#ee86a9;--c5:#93c35c;--c6:#ee8f66;--c7:#8fb0dd}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:14px/1.45 system-ui,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
header{background:var(--card);border-bottom:1px solid var(--line);padding:10px 24px}
.home{font-weight:650;color:var(--text);text-decoration:none}
main{max-width:1280px;margin:0 auto;padding:20px 24px 60px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
h1{font-size:20px;margin:0 0 4px;overflow-wrap:anywhere}
.sub{color:var(--dim);margin:0 0 16px}.sub b{color:var(--text);font-weight:600}
code,.id{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px}
form{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px 12px;align-items:end;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin-bottom:18px}
label{display:block;color:var(--dim);font-size:12px}
input,select,button{width:100%;height:32px;margin-top:3px;padding:6px 8px;font:inherit;color:var(--text);background:var(--bg);border:1px solid var(--line);border-radius:6px}
button{background:var(--accent);border-color:var(--accent);color:var(--card);font-weight:600;cursor:pointer}
.note{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:24px;color:var(--dim);text-align:center}
.problem{background:var(--badbg);color:var(--bad);border-radius:8px;padding:10px 16px;margin-bottom:16px}
.trace{display:block;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 16px;margin-bottom:8px;color:inherit}
.trace:hover{border-color:var(--accent);text-decoration:none}
.top{display:flex;gap:12px;align-items:baseline}.top strong{overflow-wrap:anywhere}.top .dur{margin-left:auto;font-weight:650;white-space:nowrap;font-variant-numeric:tabular-nums}
.meter{display:block;width:100%;height:3px;margin:6px 0}
.chips{display:flex;flex-wrap:wrap;gap:6px;align-items:center}.dim{color:var(--dim)}
.chip{background:var(--chip);border-radius:10px;padding:0 8px;font-size:12px;overflow-wrap:anywhere;max-width:100%}
.bad{background:var(--badbg);color:var(--bad);font-weight:600}
.dot{display:inline-block;width:8px;height:8px;border-radius:50%;margin-right:6px}
.right{margin-left:auto;white-space:nowrap;font-variant-numeric:tabular-nums}
.fall{background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.row,.axis{display:grid;grid-template-columns:minmax(220px,36%) 1fr 84px;align-items:center;padding:0 14px;min-height:32px}
.axis{color:var(--dim);font-size:12px;border-bottom:1px solid var(--line)}
.ticks{display:flex;justify-content:space-between;font-variant-numeric:tabular-nums}
.axis .time{text-align:right}
details{border-bottom:1px solid var(--line)}details:last-child{border-bottom:0}
summary{list-style:none;cursor:pointer}summary::-webkit-details-marker{display:none}
summary:hover,details[open]>summary{background:var(--chip)}
.name{display:flex;align-items:center;gap:7px;min-width:0;padding-right:10px}
.name b{font-weight:600;white-space:nowrap}.name .svc{color:var(--dim);font-size:12px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.pip{flex:none;width:4px;height:20px;border-radius:2px}
.bar{display:block;width:100%;height:32px}.bar .grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.time{text-align:right;font-variant-numeric:tabular-nums;font-size:12px;white-space:nowrap}
.more{padding:10px 18px 16px;background:var(--bg);border-top:1px solid var(--line)}
.more h3{font-size:12px;color:var(--dim);margin:12px 0 4px;font-weight:600}.more h3:first-child{margin-top:0}
table{border-collapse:collapse;width:100%}td{padding:3px 14px 3px 0;vertical-align:top;overflow-wrap:anywhere;font-size:13px;border-top:1px solid var(--line)}
tr:first-child td{border-top:0}td:first-child{width:260px;color:var(--dim)}
${Array.from({ length: 8 }, (_, index) => `.c${index}{background:var(--c${index});fill:var(--c${index})}`).join("")}
.fail{fill:var(--bad);background:var(--bad)}
${Array.from({ length: 21 }, (_, depth) => `.d${depth}{padding-left:${depth * 16}px}`).join("")}
`;

// What the API sends, as far as the console reads it. Members that it does not know are passed over; of those that it
// knows, only what every release has sent is required.

export type Status = "queued" | "running" | "input_required" | "completed" | "failed" | "cancelled";

export const STATUSES: readonly Status[] = ["queued", "running", "input_required", "completed", "failed", "cancelled"];

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  reasoning_tokens?: number;
  cached_tokens?: number;
  cost_usd?: number;
}

export interface Metrics {
  total_turns: number;
  tool_call_count: number;
  tool_execution_time_ms: number;
  model_time_ms: number;
  queue_time_ms: number;
  overhead_ms: number;
  recoveries: number;
  /** To the table and the queues; logs of earlier releases have none. */
  requests?: number;
}

export interface JobError {
  code: string;
  message: string;
  failed_during?: string;
  tool_name?: string;
  node_id?: string;
  turn?: number;
}

export type CallStatus = "pending" | "running" | "completed" | "error" | "skipped" | "unknown";

export interface ToolCall {
  id: string;
  lane: string;
  turn: number;
  node_id?: string;
  name: string;
  arguments: string;
  /** What a person put in their place. */
  edited_arguments?: string;
  status: CallStatus;
  result?: string;
  result_truncated?: boolean;
  error?: { phase?: string; message: string };
  started_at?: string;
  finished_at?: string;
  duration_ms?: number;
}

export type NodeStatus = "pending" | "active" | "waiting" | "completed" | "error" | "skipped";

export interface RequestOption {
  id: string;
  label: string;
  action: string;
}

export interface InputRequest {
  id: string;
  kind: "approval" | "input" | "review" | "client_tool" | "budget" | "tool_limit";
  node_id?: string;
  tool_call?: Partial<ToolCall> & { name: string };
  prompt?: string;
  options?: RequestOption[];
  input_schema?: unknown;
  context?: { input?: unknown; output?: unknown };
  created_at?: string;
  expires_at?: string;
  default_action?: string;
  answer?: { action: string; option?: string; data?: unknown; by?: string; at?: string };
}

/** An event of a job's log with its number, which is the cursor of who has seen it. */
export interface LogEvent {
  number: number;
  data: { type: string; at: string; lane?: string; turn?: number; attempt?: number; node_id?: string } & Record<
    string,
    unknown
  >;
}

export interface WorkflowNode {
  id: string;
  type: string;
  position?: { x: number; y: number };
  data?: { label?: string; description?: string } & Record<string, unknown>;
}

export interface WorkflowEdge {
  id?: string;
  source: string;
  target: string;
  sourceHandle?: string;
  label?: string;
}

export interface WorkflowDocument {
  meta?: { name?: string; description?: string; version?: string };
  nodes: WorkflowNode[];
  edges: WorkflowEdge[];
}

/** A workflow's graph as the answer about a job has it. */
export interface GraphAnswer {
  nodes: { id: string; type: string; label: string; description?: string }[];
  edges: WorkflowEdge[];
}

export interface JobSummary {
  id: string;
  kind: "chat" | "workflow";
  status: Status;
  created_at: string;
  started_at?: string | null;
  finished_at?: string | null;
  deadline_at?: string | null;
  expires_at: string;
  user_id: string;
  thread_id?: string | null;
  message_id?: string | null;
  title: string;
  model: string;
  usage: Usage;
  metrics: Metrics;
  finish_reason?: string | null;
  error?: JobError | null;
  metadata?: Record<string, string>;
}

export interface Job extends JobSummary {
  output: string;
  last_event: number;
  stream_url?: string;
  workflow?: { name?: string; version?: string; document?: WorkflowDocument; graph?: GraphAnswer } & Record<string, unknown>;
}

export interface Tool {
  name: string;
  description: string;
  parameters?: unknown;
  enabled: boolean;
}

/** Whether a job of this status has ended for good. */
export function isFinished(status: Status): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}

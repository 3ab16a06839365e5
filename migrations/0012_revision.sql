-- How often rows of the projection were changed by anything but its projector (a repair, parked things that were applied): a
-- projector that remembers rows which it has written forgets them then.
alter table read.checkpoint add column revision integer not null default 0;
